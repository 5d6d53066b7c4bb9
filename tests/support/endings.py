"""Hosts for escapees, with the service that reaches them, and what must be true of each end.

A verdict is held against what is alive at the moment when it is known; who lives is found by a walk of /proc.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.escaping import Attempt, end_all, survivors
from tests.support.relay import Relay
from tests.support.remote import Flavour, Refuge, RemoteEscapes, machine
from tests.support.service import Document, Remote, as_document, wait_until
from tests.support.sshd import Sshd

LOST_WITHIN = 20.0
"""Seconds from the cut to the job's end, when nothing tells of the cut but silence."""

GONE_WITHIN = 28.0
"""Seconds from the cut to the end of the last process, on a host with python3, whose guard waits for 25 s."""

AFTER_DEADLINE = 14.0
"""Seconds from the time limit of a run to the end of its last process, of which a guard gives the service 7."""

HEARD_WITHIN = 15.0
"""Seconds from a cut that the host hears of to the end of the last process; a guard in sh looks every second, and one that
hears of nothing waits for 25."""

USED_AGAIN = 60.0
"""Seconds until a host whose connection broke is used again; the longest pause after failed dials is 30 of them."""

FOLLOWED = 30.0
"""Seconds in which a job has ended whose run is stopped or cut off: 5 of them polite, and the rest for a busy machine."""

UNANSWERED = 25.0
"""Seconds in which a run ends whose guard answers nothing: its limit, 16 s of patience, and some for a busy machine."""

STARTERS = ("deaf", "session", "daemon", "stranger")
"""Kinds for tests in which the start is what counts."""

GROUP_BOUND = ("deaf",)
"""The kinds that stay in their process group, which a guard without python3 can end."""

Cut = Callable[["Far"], None]

TALK = {"params": {"count": 1000, "pause": 0.05}}


@dataclass(frozen=True, kw_only=True)
class Far:
    """One host, behind a relay or not, with the service that reaches it."""

    service: RemoteEscapes
    sshd: Sshd
    flavour: Flavour
    relay: Relay | None = None
    host: str = "over"

    @property
    def sure(self) -> bool:
        """Whether every process of a run can be found and ended on this host."""
        return self.flavour == "python3"

    @property
    def line(self) -> Relay:
        if self.relay is None:
            raise RuntimeError("this host is reached directly")
        return self.relay

    def start(self, attempts: Sequence[Attempt], body: Document | None = None) -> list[Document]:
        with ThreadPoolExecutor(len(attempts)) as pool:
            return list(pool.map(lambda attempt: self.service.flee(attempt, self.host, body), attempts))

    def start_away(self, attempts: Sequence[Attempt], body: Document | None = None) -> list[Document]:
        """Start escapees and wait until each has got away."""
        jobs = self.start(attempts, body)
        all_away(attempts)
        return jobs

    def talk(self) -> str:
        """Start a command that goes on talking; returns its job's id once it has said something."""
        job = self.service.launch("tick", {**TALK, "hosts": [self.host]})
        assert self.service.first_line(job["id"]) == "tick 0"
        return str(job["id"])

    def works(self) -> bool:
        """Whether the next run on the host succeeds."""
        return self._next_run().get("state") == "succeeded"

    def check_used_again(self) -> None:
        """Fail, with what the last run said, if runs on the host do not succeed again soon."""
        give_up = time.monotonic() + USED_AGAIN
        while (answer := self._next_run()).get("state") != "succeeded":
            assert time.monotonic() < give_up, answer
            time.sleep(0.05)

    def _next_run(self) -> Document:
        return as_document(self.service.run("exit", {"params": {"code": 0}, "hosts": [self.host]}))


@contextmanager
def far(folder: Path, flavour: Flavour) -> Iterator[Far]:
    with ExitStack() as stack:
        refuge = stack.enter_context(Refuge.made())
        sshd = stack.enter_context(Sshd.start(folder / "far", machine=machine(flavour)))
        relay = stack.enter_context(Relay.to((sshd.address, sshd.port)))
        remotes = {"over": Remote.of(sshd, port=relay.port)}
        service = stack.enter_context(RemoteEscapes.running(folder / "service", remotes=remotes))
        service.refuge = refuge
        yield Far(service=service, sshd=sshd, relay=relay, flavour=flavour)


def all_away(attempts: Sequence[Attempt]) -> None:
    for attempt in attempts:
        wait_until(attempt.away, f"{attempt.kind} has got away", seconds=30)


def alive(attempts: Sequence[Attempt]) -> set[str]:
    """The kinds of which something is alive right now."""
    return set(survivors(attempts, seconds=0))


def follow(made: Far, attempts: Sequence[Attempt], jobs: Sequence[Document], seconds: float) -> dict[str, Document]:
    """Wait for the end of all jobs, and hold each against what is alive at the moment when its verdict is known.

    Raises AssertionError if one does not end in time, or says that all is dead when something lives.
    """

    def one(attempt: Attempt, job: Document) -> Document:
        ended = made.service.finished(job["id"], seconds=seconds)
        if ended.get("stopped") == "confirmed":
            assert alive([attempt]) == set(), f"{attempt.kind} is alive and was said to be dead"
        return {**ended, "code": (ended["error"] or {}).get("code")}

    with ThreadPoolExecutor(len(jobs)) as pool:
        ended = list(pool.map(one, attempts, jobs))
    return {attempt.kind: job for attempt, job in zip(attempts, ended, strict=True)}


def told(ended: dict[str, Document], *fields: str) -> dict[str, tuple[object, ...]]:
    return {kind: tuple(job.get(field) for field in fields) for kind, job in ended.items()}


def check_gone(made: Far, attempts: Sequence[Attempt], *, seconds: float) -> None:
    """Fail if something is left that can be ended on such a host; end what is left."""
    watched = attempts if made.sure else [attempt for attempt in attempts if attempt.kind in GROUP_BOUND]
    try:
        left = survivors(watched, seconds=seconds)
        assert not left, left
    finally:
        end_all(attempts)


def check_lost(ended: dict[str, Document]) -> None:
    holder = ended.pop("holder", None)  # whose leader has ended: it may be over before
    assert holder is None or holder["state"] in ("lost", "succeeded")
    assert told(ended, "state", "code") == dict.fromkeys(ended, ("lost", "connection_lost"))


def check_talker(made: Far, job_id: str) -> None:
    """What was written up to the cut is kept, whole and in order."""
    job = made.service.finished(job_id, seconds=LOST_WITHIN)
    assert (job["state"], job["error"]["code"]) == ("lost", "connection_lost")
    assert job["error"]["hint"]
    assert job.get("stopped") != "confirmed"
    lines = job["stdout"].splitlines()
    assert lines
    assert lines == [f"tick {number}" for number in range(len(lines))]
