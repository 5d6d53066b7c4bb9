"""A job's events, each exactly once, over as many connections as it takes.

A call is sent with an idempotency key until the service has answered it, so that it runs once however often it is sent.
From the first event on the job is followed by number: after a cut, an `interrupted`, a restart or a refusal for now, the next
connection goes on after the last event that was handed out. Numbers have no gap: a stream that leaves one out counts as cut.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from cmdhttp.client.exchange import NDJSON, Answer, Caller, Cut, NoSuchHost, Request
from cmdhttp.client.failures import CallFailed, Document, Refused, Unreachable
from cmdhttp.client.patience import Patience
from cmdhttp.ids import is_job_id

_SILENCE = 70.0
"""Seconds; the longest heartbeat that the service can be set to is 60."""

_LONGEST_LINE = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    document: Document = field(repr=False)

    @property
    def type(self) -> str:
        return str(self.document.get("type"))


class OutOfTime(Exception):
    """The moment until which the caller wanted to wait has come. The job goes on."""


class Following:
    """One job, as it is followed. `job_id` is empty until the service has said it.

    `uncertain` says that the call may have been accepted though nobody has said so. `until` is a reading of `clock`.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        patience: Patience,
        clock: Callable[[], float],
        until: float | None = None,
        told: Callable[[CallFailed], None] = lambda _: None,
    ) -> None:
        self._caller = caller
        self._patience = patience
        self._clock = clock
        self._until = until
        self._told = told
        self.job_id = ""
        self.last = 0
        self.uncertain = False

    def run(self, command: str, *, body: bytes, key: str) -> Iterator[Event]:
        """Start a command and yield its events to the last, heartbeats among them. Raises CallFailed or OutOfTime."""
        headers = {"Idempotency-Key": key}
        request = Request(path=f"/v1/run/{command}", method="POST", body=body, accept=NDJSON, headers=headers)
        yield from self._events(request)

    def follow(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the events of a job that follow after a number. Raises CallFailed or OutOfTime."""
        self.job_id, self.last = job_id, after
        yield from self._events(None)

    def _events(self, first: Request | None) -> Iterator[Event]:
        while True:
            request = self._resuming() if self.job_id or first is None else first
            try:
                for event in self._connection(request):
                    yield event
                    if event.type == "finished":
                        return
                raise Cut("the stream ended before the job")
            except NoSuchHost as failure:
                # Once there was an answer, the name is right, and names are what the network has lost.
                self._bear(Unreachable(str(failure)) if self.last else failure)
            except CallFailed as failure:
                self._bear(failure)

    def _bear(self, failure: CallFailed) -> None:
        if self._is_over():
            raise OutOfTime from failure
        self._patience.bear(failure)
        self._told(failure)

    def _resuming(self) -> Request:
        # A POST, because some tunnels hold back the answer to a GET.
        path, query = f"/v1/jobs/{self.job_id}/events", {"after": str(self.last)}
        return Request(path=path, method="POST", query=query, body=b"{}", accept=NDJSON)

    def _connection(self, request: Request) -> Iterator[Event]:
        """Yield what is new on one connection. Raises CallFailed or OutOfTime."""
        before = self.uncertain
        try:
            with self._caller.open(replace(request, silence=self._patient()), sending=self._sending) as answer:
                for line in self._lines(answer):
                    event = _read(line)
                    if event.type == "interrupted":
                        return
                    if event.type == "heartbeat" or self._is_new(event):
                        self._patience.progress()
                        yield event
        except Refused as refused:
            if refused.nothing_ran:
                self.uncertain = before
            raise

    def _sending(self) -> None:
        self.uncertain = not self.job_id

    def _lines(self, answer: Answer) -> Iterator[bytes]:
        held: list[bytes] = []
        size = 0
        while piece := answer.some(within=self._patient()):
            *ended, rest = piece.split(b"\n")
            for line in ended:
                yield b"".join([*held, line])
                held, size = [], 0
            held.append(rest)
            size += len(rest)
            if size > _LONGEST_LINE:
                raise Cut(f"an event has more than {_LONGEST_LINE} bytes")

    def _is_new(self, event: Event) -> bool:
        if (number := event.document.get("seq")) is None:
            return False
        if not isinstance(number, int) or number > self.last + 1:
            raise Cut(f"events are missing after number {self.last}")
        if number <= self.last:
            return False
        if not self.job_id:
            self.job_id = _job_id(event)
        self.uncertain = False
        self.last = number
        return True

    def _patient(self) -> float:
        if self._until is None:
            return _SILENCE
        if self._is_over():
            raise OutOfTime
        return min(_SILENCE, self._until - self._clock())

    def _is_over(self) -> bool:
        return self._until is not None and self._clock() >= self._until


def _read(line: bytes) -> Event:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Cut("the stream holds a line that is no event; is the URL that of the service?")
    return Event(document=document)


def _job_id(event: Event) -> str:
    found = event.document.get("job_id")
    if not isinstance(found, str) or not is_job_id(found):
        raise Cut("the service named no job; is the URL that of the service?")
    return found
