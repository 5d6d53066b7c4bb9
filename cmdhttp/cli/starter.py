"""`cmdhttp init`: a first policy that works at once, with a token that is shown once.

The folder appears whole or not at all: it is written beside its place and renamed into it. Only its owner may write to it,
whatever the umask. What exists is never changed.
"""

import json
import os
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path

from cmdhttp.auth.tokens import ENTROPY_BYTES, NewToken, mint
from cmdhttp.errors import ConfigError
from cmdhttp.policy.schema import policy_schema
from cmdhttp.settings import Settings

STARTER = ("hosts.yaml", "commands.yaml", "access.yaml")
SCHEMA = ".schema.json"
PROGRAMS = ("/usr/bin/df", "/usr/bin/cat")
"""Of the starter, as most systems have them."""

_LIFE = timedelta(days=90)
_FREEZE = timedelta(days=12)
"""From the beginning of the freeze in the starter to the end of its year."""

_NEXT = """\
made {folder}, a policy with commands for this machine, and a token for 'me' until {ends:%Y-%m-%d}, shown only now:

  {token}

Check it, run its tests, and serve it:

  {program} check --strict {folder}
  {program} test {folder}
  {program} serve --policies {folder}

Call it, in another terminal:

  curl -s -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{{"params": {{"path": "/"}}}}' http://{listen}/v1/run/disk.usage

Make a token for somebody else, and put its lines into access.yaml:

  {program} token new alice
"""


def run_init(folder: Path, *, now: datetime) -> int:
    """Write the starter policy and say what to do with it. Raises ConfigError if the folder cannot be made."""
    token, ends = mint(secrets.token_bytes(ENTROPY_BYTES)), now + _LIFE
    _make(folder, starter_files(token, now=now))
    shown = {"folder": shlex.quote(str(folder)), "program": shlex.quote(_program()), "listen": Settings().listen}
    print(_NEXT.format(token=token.token, ends=ends, **shown), end="")
    return 0


def starter_files(token: NewToken, *, now: datetime) -> dict[str, str]:
    """The texts of the folder by name: with this token, with programs where they lie here, and a freeze yet to come."""
    year = (now + _FREEZE).year
    ends = (now + _LIFE).strftime("%Y-%m-%dT%H:%M:%SZ")
    values = {
        "- TOKEN": f'- {{id: {token.id}, sha256: "{token.sha256}", expires: "{ends}"}}',
        "THIS_YEAR": f"{year}",
        "NEXT_YEAR": f"{year + 1}",
        **{path: _lies_at(path) for path in PROGRAMS},
    }
    texts = {name: (resources.files("cmdhttp.policy") / "starter" / name).read_text("utf-8") for name in STARTER}
    return {name: _filled(text, values) for name, text in texts.items()} | {SCHEMA: schema_text()}


def schema_text() -> str:
    """The JSON Schema of a policy file, as `cmdhttp schema` prints it."""
    return json.dumps(policy_schema(), indent=2) + "\n"


def _filled(text: str, values: Mapping[str, str]) -> str:
    for word, value in values.items():
        text = text.replace(word, value)
    return text


def _lies_at(path: str) -> str:
    return path if Path(path).exists() else shutil.which(Path(path).name) or path


def _program() -> str:
    """How this program was called, if it cannot be called by its name."""
    given = Path(sys.argv[0])
    by_path = given.name == "cmdhttp" and os.access(given, os.X_OK) and shutil.which("cmdhttp") is None
    return str(given) if by_path else "cmdhttp"


# Writing.


def _make(folder: Path, files: Mapping[str, str]) -> None:
    place = folder.resolve()
    try:
        _check_free(folder, place)
        made = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        try:
            for name, text in files.items():
                _write(made / name, text)
            made.chmod(0o755)
            made.rename(place)  # in place of an empty folder at most
        except BaseException:
            shutil.rmtree(made)
            raise
    except OSError as error:
        hint = f"make the folder {folder.parent} first" if not place.parent.exists() else ""
        raise ConfigError(f"{folder} cannot be made: {error.strerror}", hint=hint) from error


def _check_free(folder: Path, place: Path) -> None:
    if place == Path.cwd():
        raise ConfigError(f"{folder} is the folder that you are in", hint="name a folder in it, like 'policies'")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        hint = "name a folder that is not there yet; nothing is ever overwritten"
        raise ConfigError(f"{folder} is there already, and it is not an empty folder", hint=hint)


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
