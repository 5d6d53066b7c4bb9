"""The corners of the policy rooms that no ordinary policy reaches."""

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import KeyFile, SshTarget, Step
from cmdhttp.policy import yaml_events
from cmdhttp.policy.compiled import Script
from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.merge import _known_keys
from cmdhttp.policy.params import (
    PARAM_TYPES,
    FileParam,
    JsonParam,
    ListParam,
    ParamSpec,
    SecretParam,
    StringParam,
)
from cmdhttp.policy.yaml_events import NotYaml, PythonParser, events
from tests.unit.policies import compiled, findings


def spec(kind: str, **keys: Any) -> ParamSpec:
    return PARAM_TYPES[kind].model_validate({"type": kind, **keys})


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("hash", {"algorithms": []}, "algorithms: an empty list allows nothing"),
        ("hostname", {"under": []}, "under: an empty list allows nothing"),
        ("email", {"under": []}, "under: an empty list allows nothing"),
        ("path", {"under": []}, "under: an empty list allows nothing"),
        ("path", {"under": [["/var"]]}, "must be an absolute path"),
        ("ip", {"in": []}, "in: an empty list allows nothing"),
        ("ip", {"not_in": ["10.0.0"]}, "must be a network, like 10.0.0.0/8, or an address"),
        ("ip", {"not_in": [["10.0.0.0/8"]]}, "must be a network, like 10.0.0.0/8, or an address"),
        ("url", {"ports": ["0"]}, "ports: must be 1 to 65535"),
        ("url", {"ports": ["65536"]}, "ports: must be 1 to 65535"),
        ("url", {"hosts": []}, "schemes and hosts: an empty list allows nothing"),
        ("bool", {"flag": ""}, "flag: must not be empty"),
        ("date", {"min": "tomorrow"}, "must be a date, like 2026-12-20"),
        ("date", {"min": ["2026-12-20"]}, "must be a date, like 2026-12-20"),
        ("string", {"pattern": ["a"]}, "must be a pattern, written as text"),
        ("list", {"of": {"type": "int"}, "leading_dash": "true"}, "leading_dash: say it of the items, inside 'of'"),
        ("list", {"of": {"type": "bool", "flag": "-v"}}, "of: a flag cannot be an item"),
        ("list", {"of": {"type": "int", "default": "1"}}, "of: an item has no 'required' and no 'default'"),
    ],
)
def test_types_that_could_not_work(kind: str, keys: dict[str, Any], message: str) -> None:
    """A type whose own words contradict each other is refused when the policy loads."""
    with pytest.raises(ValueError, match="1 validation error") as caught:
        spec(kind, **keys)
    assert message in str(caught.value)


def test_a_network_lies_inside_one_of_its_own_version() -> None:
    """An IPv6 network is inside an IPv6 network and never inside an IPv4 one, whatever its bits."""
    made = spec("cidr", **{"in": ["10.0.0.0/8", "2001:db8::/32"]})
    assert made.normalise("2001:db8:1::/48") == "2001:db8:1::/48"
    with pytest.raises(BadValue):
        made.normalise("a00::/8")


def test_a_date_that_was_read_before_stays() -> None:
    """Tightening a type reads its own values again."""
    made = spec("date", min=date(2026, 12, 20))
    with pytest.raises(BadValue):
        made.normalise("2026-12-19")


def test_json_that_may_start_with_a_dash() -> None:
    """A negative number is JSON; whether it may stand first in a text is the author's word."""
    assert spec("json", leading_dash="true").normalise(-5) == -5
    with pytest.raises(BadValue):
        spec("json").normalise(-5)


def test_a_pattern_that_json_schema_reads_otherwise_is_left_out() -> None:
    """The schema of a parameter never promises less than the type takes."""
    assert "pattern" not in StringParam.model_validate({"type": "string", "pattern": "(?i)a"}).json_schema()
    assert "pattern" in StringParam.model_validate({"type": "string", "pattern": "a"}).json_schema()


def test_what_is_no_normal_form_has_no_bytes() -> None:
    """A value that its type did not make is a mistake of the program, and never becomes an argument or a file."""
    secret = SecretParam.model_validate({"type": "secret"})
    upload = FileParam.model_validate({"type": "file"})
    several = ListParam.model_validate({"type": "list", "of": {"type": "int"}})
    for refused in (
        lambda: secret.payload("x"),
        lambda: upload.payload("x"),
        lambda: upload.render("x"),
        lambda: several.arguments("x"),
        lambda: ParamSpec(type="x").normalise("x"),
    ):
        with pytest.raises((TypeError, NotImplementedError)):
            refused()


def test_an_upload_has_one_identity() -> None:
    """An upload is known by name, size and sum, so a narrowing can compare it without its content."""
    upload = FileParam.model_validate({"type": "file"})
    value = upload.normalise({"name": "a", "base64": "eA=="})
    assert '"name":"a"' in upload.identity(value)
    assert upload.payload(value) == b"x"


def test_json_takes_what_is_json() -> None:
    """Anything else, such as a Python object, is refused by its type."""
    with pytest.raises(BadValue) as caught:
        JsonParam.model_validate({"type": "json"}).normalise(object())
    assert caught.value.code == "type"


def test_a_step_shows_a_script_by_its_sum() -> None:
    """What people see of a script is its interpreter, its digest and its arguments."""
    target = SshTarget(address="a", port=22, account="u", login=KeyFile(path="/k"), known_hosts="/h")
    script = Script(interpreter=("/bin/sh",), text="x", sha256="ab")
    step = Step(run=0, host="h", target=target, argv=("y",), env={}, timeout=1.0, output_limit=1)
    assert step.shown_argv == ("y",)
    scripted = Step(run=0, host="h", target=target, argv=("y",), env={}, script=script, timeout=1.0, output_limit=1)
    assert scripted.shown_argv == ("/bin/sh", "sha256:ab", "y")


# Text that is not YAML in a way that nobody has met.


def test_a_parser_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even making the parser fails, the text is not YAML, and nothing else comes out."""
    monkeypatch.setattr(yaml_events, "PARSER", PythonParser)
    with pytest.raises(NotYaml, match=r"the text is not YAML \(ReaderError\)"):
        list(events("\x07"))


@pytest.mark.parametrize("mark", [None, yaml.Mark("x", 4, 1, 2, None, 0)])
def test_an_unknown_problem_of_the_parser(mark: yaml.Mark | None) -> None:
    """Words that we have no plainer ones for are passed on, at their place if there is one."""
    error = yaml.MarkedYAMLError(problem="something new", problem_mark=mark)
    said = yaml_events._explained(error, "abc\ndefgh")
    assert said.message == "the text is not YAML (something new)"
    assert (said.line, said.column) == ((2, 3) if mark else (0, 0))


# Files and scripts.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.mkdir(), "it is not a regular file"),
        (lambda path: path.write_bytes(b"a\0b"), "it holds a NUL"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    ],
)
def test_a_script_that_is_no_plain_text(tmp_path: Path, make: Any, message: str) -> None:
    """A fifo would wait for ever, and a NUL would end the text early: both are refused."""
    make(tmp_path / "s.sh")
    found = findings("commands: {c: {on: local, script_file: s.sh, interpreter: sh}}", policies=tmp_path)
    assert [line.split(" ")[1] for line in found] == ["P212"]
    assert message in found[0]


def test_what_does_not_fit_together_is_raised() -> None:
    """`compile_policy` and `merge` give a policy or every error, never both."""
    with pytest.raises(PolicyError) as caught:
        compiled("grants: [{to: p, roles: r}]")
    assert [finding.code for finding in caught.value.findings] == ["P205", "P205"]
    with pytest.raises(PolicyError):
        compiled("grants: {}")


def test_no_keys_are_known_below_a_plain_value() -> None:
    """Where a value has no keys of its own, there is nothing to suggest."""
    assert _known_keys(str, ("a", 0)) == []
