"""A job's events become what a person or a program sees: output, the progress line, and the finished job."""

from base64 import b64decode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from cmdhttp.cli.calls.screen import STDERR, STDOUT, Screen
from cmdhttp.client.documents import an_object, is_several, runs_of
from cmdhttp.client.failures import Document, Unreachable
from cmdhttp.client.following import Event
from cmdhttp.errors import ConfigError


class Damaged(Unreachable):
    """The output that was received is not the output that is kept."""

    retryable = False


class Watcher:
    """Shows one job.

    `shows` is for the output; with `only` (a host, or none for the only one, and a stream) just that part of it, bare, on
    stdout. `whole` says that the events are followed from the first, so sums can be checked.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        shows: bool,
        whole: bool = True,
        only: tuple[str | None, str] | None = None,
    ) -> None:
        self._screen = screen
        self._shows = shows
        self._whole = whole
        self._only = only
        self._started = False
        self._offsets: dict[tuple[str, str], int] = {}
        self._sums: dict[tuple[str, str], Any] = {}
        self._several = False
        self.job: Document = {}

    def watch(self, events: Iterable[Event]) -> Document:
        """Show events to the last; returns the finished job. Raises CallFailed, OutOfTime and OutputLost."""
        for event in events:
            self.see(event)
        return self.job

    def knows(self, job: Document) -> None:
        """Take up what is known of a job whose first events are not followed."""
        self.job = job
        self._several = is_several(job)
        if self._only is not None:
            _check_host(job, self._only[0])

    def see(self, event: Event) -> None:
        document = event.document
        match event.type:
            case "accepted":
                self.knows(an_object(document, "job"))
            case "output":
                self._output(document)
            case "started":
                self._begin()
            case "exited" if self._several:
                self._screen.host_end(str(document.get("host")))
            case "progress":
                self._progress(document)
            case "finished":
                self._screen.progress("")
                self.job = an_object(document, "job")
                self._check_sums()
            case _:
                pass  # nothing to show, or an event of a later version

    def _output(self, document: Document) -> None:
        host, stream, offset = document.get("host"), document.get("stream"), document.get("offset")
        if not isinstance(host, str) or stream not in (STDOUT, STDERR) or not isinstance(offset, int):
            raise Damaged("an event of output does not say of what it is")
        data, place = _bytes(document), (host, str(stream))
        if offset != self._offsets.get(place, 0 if self._whole else offset):
            raise Damaged(f"the output of {host} has a gap before byte {offset}")
        self._offsets[place] = offset + len(data)
        self._sums.setdefault(place, sha256()).update(data)
        if self._shows:
            self._show(place, data)

    def _show(self, place: tuple[str, str], data: bytes) -> None:
        if self._only is not None:
            host, stream = self._only
            if place == (host or place[0], stream):
                self._screen.output(STDOUT, data)
        elif self._several:
            self._screen.host_output(*place, data)
        else:
            self._screen.output(place[1], data)

    def _check_sums(self) -> None:
        """Raise Damaged if what was shown has another sum than what is kept."""
        for run in runs_of(self.job):
            for stream, expected in an_object(run, "sha256").items():
                seen = self._sums.get((str(run.get("host")), stream))
                if self._whole and expected and (seen or sha256()).hexdigest() != expected:
                    raise Damaged(f"the {stream} of {run.get('host')} is not what the service has kept")

    def _begin(self) -> None:
        if not self._started:
            self._started = True
            self._screen.progress("")

    def _progress(self, document: Document) -> None:
        queue = document.get("queue")
        if isinstance(queue, dict) and not self._started:
            self._screen.progress(f"waiting: position {queue.get('position')}, {queue.get('reason')}")
            return
        done, total = document.get("hosts_done"), document.get("hosts_total")
        if total is None:
            return
        batches = document.get("batches")
        batch = f", batch {document.get('batch')} of {batches}" if isinstance(batches, int) and batches > 1 else ""
        self._screen.progress(f"{done} of {total} hosts done, {document.get('hosts_failed')} failed{batch}")


def _check_host(job: Document, host: str | None) -> None:
    """Raise ConfigError unless the host, or none, means one run of the job."""
    if is_several(job) and host is None:
        raise ConfigError("the job ran on several hosts", hint="Say which: --host NAME.")
    if host is not None and host not in [run.get("host") for run in runs_of(job)]:
        raise ConfigError(f"the job did not run on '{host}'")


def _bytes(document: Document) -> bytes:
    text, encoded = document.get("text"), document.get("base64")
    try:
        if isinstance(text, str):
            return text.encode()
        return b64decode(encoded if isinstance(encoded, str) else "!", validate=True)
    except ValueError:
        raise Damaged("an event of output does not hold any") from None
