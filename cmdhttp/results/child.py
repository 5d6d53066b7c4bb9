"""The program in which a parser of the library jc runs: a process that holds nothing and may be killed at any moment.

    child.py LIBRARY                names its parsers, as JSON
    child.py LIBRARY PARSER MOST    says that it is ready, then answers text after text until its input ends

A message is its length in four bytes, then its bytes: a text in UTF-8; back, `ready` once, then JSON with `data` or
`error`. Data over MOST bytes is refused. It knows the standard library and jc, and nothing of cmdhttp.
"""

import importlib
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

LENGTH = struct.Struct(">I")
READY = b"ready"
_MAX_DETAIL = 200

ParseText = Callable[..., object]


def list_parsers() -> list[str]:
    """Every parser that takes a whole text. Those that take a stream end in `-s`, as does one that is named for an option."""
    from jc.lib import parser_info, parsers  # noqa: PLC0415 - found only now, and only here

    return [name for name in parsers if not (name.endswith("-s") and parser_info(name).get("streaming"))]


def serve(parser: str, *, most: int, requests: BinaryIO, replies: BinaryIO) -> None:
    """Load the parser and answer until the requests end. A parser that cannot be loaded is told instead of `ready`."""
    try:
        parse: ParseText = importlib.import_module(f"jc.parsers.{parser.replace('-', '_')}").parse
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no such parser
        _send(replies, _failure("unavailable", f"the parser could not be loaded ({type(error).__name__})"))
        return
    _send(replies, READY)
    while head := requests.read(LENGTH.size):
        text = requests.read(*LENGTH.unpack(head)).decode()
        _send(replies, answer(parse, text, most=most))


def answer(parse: ParseText, text: str, *, most: int) -> bytes | dict[str, object]:
    """The data of a text, already written as JSON, or why there is none."""
    try:
        document = json.dumps({"data": parse(text, quiet=True)}, allow_nan=False, separators=(",", ":")).encode()
    except MemoryError:
        return _failure("failed", "the parser needs more memory than it may have")
    except Exception as error:  # noqa: BLE001 - a parser may raise anything over a text that it does not know
        return _failure("malformed", _reason(error))
    return document if len(document) <= most else _failure("too_large", f"the data is over {most} bytes")


def _reason(error: Exception) -> str:
    """What the parser says, if it means to say something, else the kind of its failure."""
    if type(error).__name__ != "ParseError":
        return f"the parser could not read it ({type(error).__name__})"
    return "".join(char if char.isprintable() else " " for char in str(error))[:_MAX_DETAIL]


def _failure(code: str, detail: str) -> dict[str, object]:
    return {"error": {"code": code, "detail": detail}}


def _send(replies: BinaryIO, reply: bytes | dict[str, object]) -> None:
    data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    replies.write(LENGTH.pack(len(data)) + data)
    replies.flush()


def main(arguments: list[str]) -> None:
    """Answer on what was stdout when this began; what a parser prints goes nowhere."""
    library, *rest = arguments
    replies = sys.stdout.buffer
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        sys.path.append(library)
        if rest:
            serve(rest[0], most=int(rest[1]), requests=sys.stdin.buffer, replies=replies)
        else:
            replies.write(json.dumps(list_parsers()).encode())
            replies.flush()


if __name__ == "__main__":
    os.setpgid(
        0, 0
    )  # no signal of a terminal is for it; its session stays the service's, which tells it from what a run left
    main(sys.argv[1:])
