"""The body of a request: bytes under a cap, strict JSON, and the fields of a run.

Duplicate keys, NaN, lone surrogates, depth over 32 and anything but an object are refused with a 400 that says which. What
is wrong with single fields is collected, so that the caller learns all of it at once.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request

from cmdhttp.call import Call
from cmdhttp.errors import BodyTooLarge, FieldError, NotJson, RequestError
from cmdhttp.jobs.state import OnDisconnect
from cmdhttp.plan.build import Wish
from cmdhttp.policy.findings import suggestion

_BODY_SECONDS = 20
_DEPTH = 32
_MAX_WAIT = 90
_MAX_UNKNOWN = 20
_MAX_INLINE = 4 << 20
_MAX_HOSTS = 1000
_MAX_LABELS, _LABEL_CHARS = 16, 128
_KEY_CHARS = 255
_REASON_CHARS = 1000
_FIELDS = (
    "params",
    "hosts",
    "stdin",
    "wait",
    "timeout",
    "on_disconnect",
    "output",
    "labels",
    "reason",
    "idempotency_key",
)
_FIELDS_HINT = (
    f'a value for the command goes into params, as {{"params": {{"NAME": ...}}}}; the fields are: {", ".join(_FIELDS)}'
)
_ENCODINGS = ("auto", "utf-8", "base64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How the caller wants to be answered. `wait` in seconds; `max_bytes` of each stream inline; None: the setting's."""

    wait: float | None = None
    encoding: str = "auto"
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    call: Call
    answer: Answer


async def read_object(request: Request, *, limit: int) -> dict[str, Any]:
    """Read the body as one JSON object. Raises RequestError, NotJson or BodyTooLarge."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        hint = "Add the header 'Content-Type: application/json', and a body; {} will do."
        raise NotJson("The Content-Type must be application/json.", hint=hint)
    data = bytearray()

    def keep(chunk: bytes) -> None:
        nonlocal data
        data += chunk
        if len(data) > limit:
            raise BodyTooLarge(f"The body is over {limit} bytes.")

    await _read(request, keep)
    return parse_object(bytes(data))


async def drop_body(request: Request) -> None:
    """Read a body that means nothing to its end: what is left unread is kept for as long as the answer goes on.

    Raises RequestError.
    """
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        await _read(request, lambda _chunk: None)


async def _read(request: Request, take: Callable[[bytes], None]) -> None:
    with anyio.move_on_after(_BODY_SECONDS) as reading:
        try:
            async for chunk in request.stream():
                take(chunk)
        except ClientDisconnect:
            raise RequestError("The connection ended inside the body.") from None
    if reading.cancelled_caught:
        raise RequestError(f"The body did not arrive within {_BODY_SECONDS} seconds.")


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse strictly. Raises RequestError that says what is wrong."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except RequestError:
        raise
    except UnicodeDecodeError:
        raise RequestError("The body is not UTF-8.") from None
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None
    except ValueError as error:
        place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise RequestError(f"The body is not JSON{place}.", hint="Send a JSON object; {} will do.") from None
    if not isinstance(value, dict):
        raise RequestError("The body is JSON, but not an object.", hint="Send a JSON object; {} will do.")
    _check_tree(value)
    return value


def run_request(command: str, body: dict[str, Any], *, header_key: str | None, request_id: str) -> RunRequest:
    """Turn a body into a call. Faults of single fields go along in the call, for the service to answer all at once."""
    reader = _Reader(body)
    reader.check_names()
    stdin = reader.stdin()
    call = Call(
        command=command,
        params=reader.take("params", dict, "an object of parameter names and values", {}),
        hosts=reader.texts("hosts", most=_MAX_HOSTS, chars=255),
        wish=Wish(stdin=stdin, timeout=reader.number("timeout", low=0.001, high=7 * 86400)),
        on_disconnect=OnDisconnect(reader.choice("on_disconnect", tuple(OnDisconnect), OnDisconnect.CONTINUE)),
        labels=reader.texts("labels", most=_MAX_LABELS, chars=_LABEL_CHARS),
        reason=reader.text("reason", chars=_REASON_CHARS) or "",
        key=header_key or reader.text("idempotency_key", chars=_KEY_CHARS),
        request_id=request_id,
    )
    answer = Answer(wait=reader.number("wait", low=0, high=_MAX_WAIT), **reader.output())
    return RunRequest(call=replace(call, faults=tuple(reader.faults)), answer=answer)


@dataclass(slots=True)
class _Reader:
    body: dict[str, Any]
    faults: list[FieldError] = field(default_factory=list)

    def check_names(self) -> None:
        unknown = [name for name in self.body if name not in _FIELDS]
        if len(unknown) > _MAX_UNKNOWN:
            raise RequestError(f"The body has {len(unknown)} fields that are not known.")
        for name in unknown:
            hint = suggestion(name, _FIELDS) or _FIELDS_HINT
            self.fault(name, "unknown_field", "unknown field", hint)

    def fault(self, name: str, code: str, detail: str, hint: str = "") -> None:
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        self.faults.append(FieldError(pointer=pointer, code=code, detail=detail, hint=hint))

    def take(self, name: str, kind: type, wanted: str, default: Any) -> Any:
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            self.fault(name, "type", f"must be {wanted}")
            return default
        return value

    def text(self, name: str, *, chars: int) -> str | None:
        value = self.take(name, str, "text", None)
        if value is None or (_printable(value) and 0 < len(value) <= chars):
            return value if isinstance(value, str) else None
        self.fault(name, "format", f"must be 1 to {chars} characters without control characters")
        return None

    def texts(self, name: str, *, most: int, chars: int) -> tuple[str, ...]:
        values = self.body.get(name)
        if values is None:
            return ()
        if isinstance(values, str):
            values = [values]
        if values == [] and name == "hosts":
            self.fault(name, "empty", "must not be empty; leave it out if it has nothing to say")
            return ()
        if not isinstance(values, list) or len(values) > most:
            hint = 'a label is written "role=web"' if name == "hosts" else ""
            self.fault(name, "type", f"must be a text or a list of at most {most} texts", hint)
            return ()
        if not all(isinstance(value, str) and _printable(value) and 0 < len(value) <= chars for value in values):
            self.fault(name, "format", f"each must be a text of 1 to {chars} characters without control characters")
            return ()
        return tuple(values)

    def number(self, name: str, *, low: float, high: float) -> float | None:
        value = self.body.get(name)
        if isinstance(value, str):
            value = _number(value)
        if value is None and self.body.get(name) is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fault(name, "out_of_range", f"must be a number of seconds from {low:g} to {high:g}")
            return None
        return float(value)

    def choice(self, name: str, choices: Iterable[str], default: str) -> str:
        value = self.body.get(name)
        if value is None:
            return default
        if value in (known := list(choices)):
            return str(value)
        self.fault(name, "not_in_values", f"must be one of {', '.join(known)}")
        return default

    def stdin(self) -> bytes | None:
        value = self.body.get("stdin")
        if value is None:
            return None
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
            try:
                return base64.b64decode(value["base64"], validate=True)
            except (binascii.Error, ValueError):
                self.fault("stdin", "base64", "the content is not plain base64")
                return None
        self.fault("stdin", "type", 'must be text, or {"base64": "..."}')
        return None

    def output(self) -> dict[str, Any]:
        value = self.take("output", dict, "an object", {})
        unknown = sorted(set(value) - {"encoding", "max_bytes"})
        encoding, most = value.get("encoding", "auto"), value.get("max_bytes")
        if unknown:
            self.fault("output", "unknown_field", f"has an unknown field '{unknown[0]}'", "encoding or max_bytes")
        if encoding not in _ENCODINGS:
            self.fault("output", "not_in_values", f"encoding must be one of {', '.join(_ENCODINGS)}")
            encoding = "auto"
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or not 0 <= most <= _MAX_INLINE):
            self.fault("output", "out_of_range", f"max_bytes must be a whole number from 0 to {_MAX_INLINE}")
            most = None
        return {"encoding": encoding, "max_bytes": most}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _printable(text: str) -> bool:
    return all(char.isprintable() for char in text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RequestError("The body has an object with the same key twice.")
    return found


def _no_constant(name: str) -> Callable[[], None]:
    raise RequestError(f"The body holds {name}, which is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise RequestError("The body holds a number too large to be one.")
    return number


def _check_tree(root: object) -> None:
    level: list[object] = [root]
    for _ in range(_DEPTH):
        following: list[object] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                following += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                following += value
        level = following
        if not level:
            return
    raise RequestError(f"The body is nested more than {_DEPTH} levels deep.")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestError("The body holds half of a surrogate pair, which is no character.") from None
