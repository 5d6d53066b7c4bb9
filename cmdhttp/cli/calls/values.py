"""The values of a call as they are written on the command line. Pure but for reading the files that are named.

`name=text`, again for a list; `name:=JSON`; `name=@FILE` for the text of a file, so that a secret need not stand on the
command line; `name@FILE` for a parameter of type file. `-` is stdin, for one of them.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from cmdhttp.errors import ConfigError

_PAIR = re.compile(r"([A-Za-z0-9_.-]+)(:=|=@|=|@)(.*)", re.DOTALL)
_HINT = "Write name=text, name:=JSON, name=@FILE for a text from a file, or name@FILE to send a file."
_STDIN_NAME = "stdin"

Read = Callable[[str], bytes]
"""Returns the bytes of a file, or of stdin for `-`. Raises ConfigError."""


def read_values(pairs: Iterable[str], read: Read) -> dict[str, Any]:
    """Return the parameters that the pairs give. Raises ConfigError, which never holds a value."""
    texts: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for pair in pairs:
        found = _PAIR.fullmatch(pair)
        if found is None:
            raise ConfigError(f"'{_shown(pair)}' is not a value", hint=_HINT)
        name, kind, text = found.groups()
        if name in values or (name in texts and kind != "="):
            raise ConfigError(f"'{name}' is given twice", hint="Only name=text may be repeated, for a list.")
        match kind:
            case "=":
                texts.setdefault(name, []).append(_text(name, text))
            case ":=":
                values[name] = _json(name, text)
            case "=@":
                values[name] = _text_of(name, read(text))
            case _:
                values[name] = upload(text, read(text))
        if name in values and name in texts:
            raise ConfigError(f"'{name}' is given twice", hint="Only name=text may be repeated, for a list.")
    return values | {name: given if len(given) > 1 else given[0] for name, given in texts.items()}


def upload(path: str, content: bytes) -> dict[str, str]:
    """Return a file as the API takes it, with its sum: damage on the way is then refused before anything runs."""
    name = _STDIN_NAME if path == "-" else Path(path).name
    encoded = base64.b64encode(content).decode()
    return {"name": name, "base64": encoded, "sha256": hashlib.sha256(content).hexdigest()}


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        hint = f'Text is {name}=text; a list is {name}:=\'["a", "b"]\' or {name}=a {name}=b.'
        raise ConfigError(f"the value of '{name}' is not JSON", hint=hint) from None


def _refused(_: str) -> NoReturn:
    raise ValueError


def _text(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"the value of '{name}' is not UTF-8", hint="Other bytes can only be sent as a file."
        ) from None
    return text


def _text_of(name: str, content: bytes) -> str:
    """The text of a file. One line feed at its end is the editor's, not the value's."""
    try:
        return content.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ConfigError(f"the file for '{name}' is not UTF-8", hint=f"To send any bytes: {name}@FILE.") from None


def _shown(pair: str) -> str:
    """What may be repeated of a pair that was not understood: no value, which may be a secret."""
    return pair.partition("=")[0][:40]
