"""Settings, and ids."""

from dataclasses import fields
from pathlib import Path

import pytest

from cmdhttp.errors import ConfigError
from cmdhttp.ids import is_job_id, job_id, ulid
from cmdhttp.settings import SETTINGS, Settings, read_settings, variable


def test_defaults() -> None:
    """Nothing given: the defaults; an empty text is nothing."""
    assert read_settings({}, {}) == read_settings({"CMDHTTP_DATA": ""}, {}) == Settings()
    assert Settings(data=Path("d")).secrets_folder == Path("d/secrets")


def test_flags_over_variables_over_defaults() -> None:
    """A flag wins over a variable, and a variable over the default."""
    environ = {"CMDHTTP_WAIT": "5", "CMDHTTP_DATA": "/d", "CMDHTTP_MAX_RUNNING": "3", "HOME": "/root"}
    settings = read_settings(environ, {"wait": "7.5", "secrets": "/s"})
    assert (settings.wait, settings.data, settings.max_running) == (7.5, Path("/d"), 3)
    assert settings.secrets_folder == Path("/s")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wait", "soon", "must be a number"),
        ("wait", "-1", "must be a number from 0 to 90"),
        ("wait", "91", "must be a number from 0 to 90"),
        ("wait", "nan", "must be a number from 0 to 90"),
        ("wait", "inf", "must be a number from 0 to 90"),
        ("drain", "nan", "must be a number of at least 0"),
        ("heartbeat", "0", "must be a number from 0.05 to 60"),
        ("body_max", "1.5", "must be a whole number"),
        ("body_max", "1MiB", "must be a whole number"),
        ("body_max", "1023", "must be a whole number from 1024 to 67108864"),
        ("max_running", "0", "must be a whole number of at least 1"),
        ("max_queued", "-1", "must be a whole number of at least 0"),
        ("keep_alive", "0", "must be a whole number of at least 1"),
        ("log_level", "loud", "must be one of debug, info, warning, error"),
    ],
)
def test_a_bad_value_names_the_culprit(name: str, text: str, message: str) -> None:
    """The message names the flag or the variable that holds the value, whichever it was."""
    for environ, given, origin in (
        ({variable(name): text}, {}, variable(name)),
        ({variable(name): "1"}, {name: text}, f"--{name.replace('_', '-')}"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_settings(environ, given)
        assert caught.value.detail == f"{origin} {message}"


def test_an_unknown_variable_is_an_error() -> None:
    """A misspelt variable is never ignored, and the message names those that exist."""
    with pytest.raises(ConfigError, match="there is no setting CMDHTTP_WIAT") as caught:
        read_settings({"CMDHTTP_WIAT": "1"}, {})
    assert "CMDHTTP_WAIT" in caught.value.hint


def test_variables_of_clients_are_let_be() -> None:
    """What our own clients and runs set does not stop a service."""
    assert read_settings({"CMDHTTP_TOKEN": "x", "CMDHTTP_URL": "x", "CMDHTTP_JOB_ID": "x"}, {}) == Settings()


def test_every_setting_is_explained() -> None:
    """The one list and the class name the same settings."""
    assert list(SETTINGS) == [field.name for field in fields(Settings)]


def test_a_ulid() -> None:
    """The example of the ULID specification, the least and the greatest."""
    assert ulid(unix_ms=1469918176385, entropy=bytes(10)) == "01ARYZ6S410000000000000000"
    assert ulid(unix_ms=0, entropy=bytes(10)) == "0" * 26
    assert ulid(unix_ms=2**48 - 1, entropy=b"\xff" * 10) == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


def test_ids_sort_by_time() -> None:
    """A later id is greater as text, whatever its random part."""
    times = [0, 1, 31, 32, 1023, 1024, 10**12, 10**13]
    made = [job_id(unix_ms=ms, entropy=(b"\xff" if place % 2 else b"\x00") * 10) for place, ms in enumerate(times)]
    assert made == sorted(made)
    assert all(is_job_id(text) for text in made)


@pytest.mark.parametrize("size", [0, 9, 11])
def test_entropy_is_exact(size: int) -> None:
    """A ULID takes 80 random bits, no less."""
    with pytest.raises(ValueError, match="10 bytes"):
        ulid(unix_ms=0, entropy=bytes(size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job_",
        "0" * 26,
        "job_" + "0" * 25,
        "job_" + "0" * 27,
        "job_8" + "0" * 25,
        "job_" + "0" * 26 + "\n",
        "job_" + "a" * 26,
        "job_I" + "0" * 25,
        "job_" + "0" * 25 + "U",
        "job_" + "\N{ARABIC-INDIC DIGIT ZERO}" * 26,
        "job_../../../../etc/passwd000",
        "JOB_" + "0" * 26,
    ],
)
def test_what_is_no_id(text: str) -> None:
    """Nothing but our own form is an id, so an id is safe as a file name."""
    assert not is_job_id(text)
