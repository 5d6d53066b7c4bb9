"""What a request says beside its body: query parameters, ranges and the headers that mean something here."""

import base64
import binascii
import re
from datetime import datetime

from starlette.requests import Request

from cmdhttp.api.encoders import Media, choose_media
from cmdhttp.errors import FieldError, InvalidRequest, NotFound, RangeError, RequestError
from cmdhttp.ids import is_job_id
from cmdhttp.jobs.state import Job, Run, State

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_HEADERS = ("idempotency-key", "x-idempotency-key")
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


class Query:
    """Query parameters, with all that is wrong with them at once."""

    def __init__(self, request: Request) -> None:
        self._params = request.query_params
        self._faults: list[FieldError] = []

    def check(self) -> None:
        if self._faults:
            raise InvalidRequest("Some query parameters cannot be used.", errors=self._faults)

    def text(self, name: str) -> str | None:
        return self._params.get(name)

    def principal(self, *, own: str) -> str | None:
        """Whose jobs: a name, which nobody has to bear, or None for everybody's. The caller's own if nothing is said."""
        text = self._params.get("principal", own)
        if text not in (own, "*") and not _PRINCIPAL.fullmatch(text):
            self._fault("principal", "must be the name of a principal, or * for everybody's jobs")
        return None if text == "*" else text

    def seconds(self, name: str, *, high: float) -> float | None:
        """A time from 0 on, in digits, with a fraction or without."""
        text = self._params.get(name)
        if text is None:
            return None
        if not _SECONDS.fullmatch(text) or float(text) > high:
            self._fault(name, f"must be a number of seconds from 0 to {high:g}, like 2.5")
            return None
        return float(text)

    def count(self, name: str, *, high: int) -> int | None:
        """A whole number from 1 on, in digits."""
        text = self._params.get(name)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= high:
            self._fault(name, f"must be a whole number from 1 to {high}")
            return None
        return int(text)

    def position(self, name: str) -> int | None:
        text = self._params.get(name)
        if text is not None and not re.fullmatch(r"[0-9]{1,15}", text):
            self._fault(name, "must be the number of an event, in digits")
            return None
        return None if text is None else int(text)

    def instant(self, name: str) -> float | None:
        text = self._params.get(name)
        if text is None:
            return None
        try:
            return datetime.fromisoformat(text.replace(" ", "+")).astimezone().timestamp()
        except (ValueError, OverflowError, OSError):
            self._fault(name, "must be a time, like 2026-11-02T09:30:00Z")
            return None

    def states(self) -> tuple[State, ...]:
        texts = [text for value in self._params.getlist("state") for text in value.split(",") if text]
        if any(text not in list(State) for text in texts):
            self._fault("state", f"must be of {', '.join(State)}")
            return ()
        return tuple(State(text) for text in texts)

    def cursor(self) -> str | None:
        text = self._params.get("cursor")
        if text is None:
            return None
        try:
            before = base64.urlsafe_b64decode(text.encode()).decode()
        except (binascii.Error, ValueError):
            before = ""
        if is_job_id(before):
            return before
        self._fault("cursor", "is not a cursor that this service gave")
        return None

    def _fault(self, name: str, detail: str) -> None:
        self._faults.append(FieldError(pointer=f"?{name}", code="query", detail=detail))


def media_for(request: Request, offered: tuple[Media, ...]) -> Media:
    media = choose_media(request.headers.get("accept", ""), offered)
    if media is None:
        raise RequestError("None of the types in Accept can be given.", hint=f"Accept one of: {', '.join(offered)}.")
    return media


def idempotency_key(request: Request) -> str | None:
    """Return the key that a header gives, if one does. Raises RequestError: a key that was meant and not used runs twice."""
    keys = {request.headers[name] for name in _KEY_HEADERS if name in request.headers}
    if len(keys) > 1:
        raise RequestError("Idempotency-Key and X-Idempotency-Key differ.", hint="Send one of them.")
    if not all(map(_KEY.match, keys)):
        raise RequestError("The idempotency key must be 1 to 255 visible ASCII characters.")
    return next(iter(keys), None)


def last_event_id(request: Request) -> int:
    text = request.headers.get("last-event-id", "0")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise RequestError("Last-Event-ID must be the number of an event.")
    return int(text)


def run_index(job: Job, host: str | None) -> int:
    if host is None:
        if len(job.runs) > 1:
            raise RequestError("The job ran on several hosts.", hint="Say which: ?host=NAME.")
        return 0
    for index, run in enumerate(job.runs):
        if run.host == host:
            return index
    raise NotFound("The job did not run on this host.")


def artefact_number(run: Run, text: str) -> int:
    """Return which artefact of a run a path means. Raises NotFound."""
    kept = run.kept.artefacts if run.kept else ()
    if not _NUMBER.fullmatch(text) or int(text) >= len(kept):
        raise NotFound("There is no such artefact.", hint="The job lists its artefacts, each with its link.")
    return int(text)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (start, end) of a single byte range after RFC 9110, or None for the whole. Raises RangeError."""
    found = _RANGE.match(header or "")
    if not found or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    if start >= end:
        raise RangeError(f"The output has {size} bytes.")
    return start, end


def follow_start(header: str | None) -> int:
    """Return where a follower starts: at a range's first byte, also if it is not written yet; without one, at 0."""
    found = _RANGE.match(header or "")
    return int(found[1]) if found and found[1] else 0
