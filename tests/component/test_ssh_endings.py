"""Nothing survives on an SSH host, and what is said about that is true: escapees times the ways in which a run can end.

Each test is done twice: on a host that has python3, and on one that has none, where what leaves the run's group may
survive, but then nobody says that all are dead.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest

from tests.support.escapees import HOSTILE, KINDS
from tests.support.escaping import Attempt, end_all, survivors
from tests.support.netns import Link, linked
from tests.support.relay import Relay
from tests.support.remote import FLAVOURS, Flavour, Refuge, RemoteEscapes, machine
from tests.support.service import Document, Remote, wait_until
from tests.support.sshd import Sshd

pytestmark = pytest.mark.timeout(60)

LOST_WITHIN = 20.0
"""Seconds from the cut to the job's end, when nothing tells of the cut but silence."""

GONE_WITHIN = 28.0
"""Seconds from the cut to the end of the last process, on a host with python3, whose guard waits for 25 s."""

AFTER_DEADLINE = 14.0
"""Seconds from the time limit of a run to the end of its last process, of which a guard gives the service 7."""

HEARD_WITHIN = 6.0
"""Seconds from a cut that the host hears of to the end of the last process; a guard in sh looks every second."""

UNANSWERED = 25.0
"""Seconds in which a run ends whose guard answers nothing: its limit, 16 s of patience, and some for a busy machine."""

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
        answer = self.service.run("exit", {"params": {"code": 0}, "hosts": [self.host]}).json()
        return bool(answer.get("state") == "succeeded")


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


@pytest.fixture(scope="module", params=FLAVOURS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """For endings that leave the service whole."""
    with far(tmp_path_factory.mktemp("endings"), request.param) as made:
        yield made


@pytest.fixture(params=FLAVOURS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Far]:
    """For endings that do not: a log with the errors that they cause is what they ask for."""
    with far(tmp_path, request.param) as made:
        yield made
        made.service.stderr.write_text("")


def all_away(attempts: Sequence[Attempt]) -> None:
    for attempt in attempts:
        wait_until(attempt.away, f"{attempt.kind} has got away", seconds=15)


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
        assert survivors(watched, seconds=seconds) == {}
    finally:
        end_all(attempts)


# -- a run's own end


def test_a_normal_exit(shared: Far) -> None:
    """The leader ends by itself; who has got away from it is ended all the same, and the job is what the leader made it."""
    attempts = shared.service.attempts(stay=False)
    jobs = shared.start(attempts)
    try:
        ended = follow(shared, attempts, jobs, 15)
        assert [attempt.kind for attempt in attempts if not attempt.away()] == []
        assert told(ended, "state", "exit_code", "code") == dict.fromkeys(KINDS, ("succeeded", 0, None))
    finally:
        check_gone(shared, attempts, seconds=1)


# -- a run that is stopped


def stop_by_timeout(made: Far, attempts: Sequence[Attempt], _: ExitStack) -> list[Document]:
    return made.start_away(attempts, {"timeout": 2.5})


def stop_by_cancel(made: Far, attempts: Sequence[Attempt], _: ExitStack) -> list[Document]:
    jobs = made.start_away(attempts)
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(lambda job: made.service.cancel(job["id"]), jobs))


def stop_by_hanging_up(made: Far, attempts: Sequence[Attempt], streams: ExitStack) -> list[Document]:
    """The caller goes away when the streams are closed, which is after this."""
    bodies = [{**made.service.flight(attempt, "over"), "on_disconnect": "cancel"} for attempt in attempts]
    followed = [streams.enter_context(made.service.stream("flee", body)) for body in bodies]
    jobs = [{"id": next(events).document["job_id"]} for events in followed]
    all_away(attempts)
    return jobs


STOPS = {"timeout": stop_by_timeout, "cancel": stop_by_cancel, "hang up": stop_by_hanging_up}


@pytest.mark.parametrize("way", STOPS)
def test_a_stop(shared: Far, way: str) -> None:
    """A run that is stopped is gone with all that it started when its job has ended; and that is known, with python3."""
    attempts = shared.service.attempts()
    try:
        with ExitStack() as streams:
            jobs = STOPS[way](shared, attempts, streams)
        ended = follow(shared, attempts, jobs, 15)
        state = "timed_out" if way == "timeout" else "canceled"
        holder = ended.pop("holder")  # whose leader has ended: it may be over before it is stopped
        assert holder["state"] in (state, "succeeded")
        assert told(ended, "state") == dict.fromkeys(ended, (state,))
        if shared.sure:
            assert told(ended, "stopped") == dict.fromkeys(ended, ("confirmed",))
        else:
            assert {job["stopped"] for job in ended.values()} <= {"confirmed", "unconfirmed"}
    finally:
        check_gone(shared, attempts, seconds=1)


# -- a connection that breaks


def drop(made: Far) -> None:
    made.sshd.drop_connections()


def crash(made: Far) -> None:
    made.sshd.crash()
    made.sshd.up()


def reset(made: Far) -> None:
    made.line.reset()
    made.line.thaw()


STARTERS = ("deaf", "session", "daemon", "stranger")
LOUD: Sequence[Cut] = (drop, crash, reset)


@pytest.mark.parametrize("cut", LOUD)
def test_a_loud_cut(shared: Far, cut: Cut) -> None:
    """Both sides hear of it: all ends at once, the jobs are lost with what was written before, and the next run works."""
    attempts = shared.service.attempts()
    try:
        talker = shared.talk()
        jobs = shared.start_away(attempts)
        cut(shared)
        assert shared.works()
        check_gone(shared, attempts, seconds=HEARD_WITHIN)
        check_lost(follow(shared, attempts, jobs, 5))
        check_talker(shared, talker)
    finally:
        end_all(attempts)


NOTHING_RAN = ("connect_failed", "channel_refused")


@pytest.mark.parametrize("cut", [drop, reset])
def test_a_cut_while_runs_start(shared: Far, cut: Cut) -> None:
    """At whatever moment of a start the connection breaks: nothing is left, and what is said not to have run never ran."""
    delays = random.Random(5)
    for _ in range(3):
        attempts = shared.service.attempts(STARTERS)
        try:
            jobs = shared.start(attempts, {"timeout": 10})
            time.sleep(delays.uniform(0, 0.1))
            cut(shared)
            with ThreadPoolExecutor(len(jobs)) as pool:  # who came late had a good connection, and runs
                list(pool.map(lambda job: shared.service.cancel(job["id"]), jobs))
            ended = follow(shared, attempts, jobs, 15)
            check_gone(shared, attempts, seconds=HEARD_WITHIN)
            away = {attempt.kind: attempt.away() for attempt in attempts}
            for kind, job in ended.items():
                assert job["state"] in ("lost", "failed", "canceled"), (kind, job)
                if job["code"] in NOTHING_RAN:
                    assert not away[kind], (kind, job)
            wait_until(shared.works, "the host is used again", seconds=10)
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


# -- a connection that falls silent


LASTING = ("deaf", "session", "daemon", "hopper", "stranger")
BRIEF = ("deaf", "nulled")
RECALLED = ("daemon",)
BRIEF_SECONDS = 4


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_silent_cuts(tmp_path: Path, flavour: Flavour) -> None:
    """Where a side hears nothing, the jobs are lost within 20 s, and on the host all ends by its own means.

    Four hosts at once: a network that is gone for both sides, a connection that passes nothing on, and one that is reset
    for the one side or the other. Some runs have a time limit that is over before anybody can know of the cut; one is canceled.
    """
    with linked() as link, silent_hosts(tmp_path, link, flavour) as hosts, ThreadPoolExecutor(len(hosts)) as pool:
        cuts: dict[str, Cut] = {
            "gone": lambda _: link.cut(),
            "frozen": lambda made: made.line.freeze(),
            "reset_here": lambda made: made.line.reset(far=False),
            "reset_there": lambda made: made.line.reset(near=False),
        }
        everybody = Barrier(len(hosts))
        done = [pool.submit(cut_silently, made, cuts[made.host], everybody) for made in hosts]
        failed = {made.host: outcome.exception() for made, outcome in zip(hosts, done, strict=True)}
        assert {host: str(problem) for host, problem in failed.items() if problem} == {}
        link.mend()
        gone = hosts[0]
        wait_until(gone.works, "the host is used again", seconds=15)


@contextmanager
def silent_hosts(folder: Path, link: Link, flavour: Flavour) -> Iterator[list[Far]]:
    with ExitStack() as stack:
        refuge = stack.enter_context(Refuge.made())
        there = machine(flavour, prefix=link.far_prefix, address=link.far_address)
        away = stack.enter_context(Sshd.start(folder / "away", machine=there))
        near = stack.enter_context(Sshd.start(folder / "near", machine=machine(flavour)))
        names = ("frozen", "reset_here", "reset_there")
        relays = {name: stack.enter_context(Relay.to((near.address, near.port))) for name in names}
        remotes = {name: Remote.of(near, port=relay.port) for name, relay in relays.items()}
        remotes["gone"] = Remote.of(away)
        service = stack.enter_context(RemoteEscapes.running(folder / "service", remotes=remotes))
        service.refuge = refuge
        yield [
            Far(service=service, sshd=away, flavour=flavour, host="gone"),
            *(
                Far(service=service, sshd=near, flavour=flavour, relay=relay, host=name)
                for name, relay in relays.items()
            ),
        ]


def cut_silently(made: Far, cut: Cut, everybody: Barrier) -> None:
    lasting, brief, recalled = (made.service.attempts(kinds) for kinds in (LASTING, BRIEF, RECALLED))
    try:
        talker = made.talk()
        jobs = made.start_away(lasting)
        recalled_jobs = made.start_away(recalled)
        brief_jobs = made.start_away(brief, {"timeout": BRIEF_SECONDS})
        everybody.wait(20)
        cut(made)
        since = time.monotonic()
        made.service.cancel(recalled_jobs[0]["id"])
        with ThreadPoolExecutor(2) as pool:
            short = pool.submit(follow, made, brief, brief_jobs, LOST_WITHIN)
            told_off = pool.submit(follow, made, recalled, recalled_jobs, LOST_WITHIN)
            check_lost(follow(made, lasting, jobs, LOST_WITHIN))
            check_stopped(short.result(), ("timed_out", "timed_out"))
            check_stopped(told_off.result(), ("canceled", "canceled"))
        check_talker(made, talker)
        check_gone(made, brief, seconds=since + BRIEF_SECONDS + AFTER_DEADLINE - time.monotonic())
        if made.sure:
            check_gone(made, [*lasting, *recalled], seconds=since + GONE_WITHIN - time.monotonic())
    finally:
        end_all([*lasting, *brief, *recalled])


def check_stopped(ended: dict[str, Document], stop: tuple[str, str]) -> None:
    """The stop came, or the connection was lost before; that the process is dead nobody can know, and nobody says so."""
    for kind, job in ended.items():
        assert (job["state"], job["code"]) in (("lost", "connection_lost"), stop), kind
        assert job.get("stopped") != "confirmed", kind


# -- a service that is killed


def test_a_killed_service(own: Far) -> None:
    """Nobody has to start the service again for its runs to be gone; when somebody does, the jobs say what is known."""
    attempts = own.service.attempts()
    try:
        jobs = own.start_away(attempts)
        own.service.kill_at_once(own.service.front)
        check_gone(own, attempts, seconds=HEARD_WITHIN)
        own.service.kill()
        own.service.start()
        ended = follow(own, attempts, jobs, 10)
        assert told(ended, "state", "code") == dict.fromkeys(KINDS, ("lost", "service_restarted"))
        assert own.works()
    finally:
        end_all(attempts)


def test_a_service_killed_while_runs_start(own: Far) -> None:
    """At whatever moment of a start the service dies, nothing is left of what was started."""
    delays = random.Random(6)
    for _ in range(2):
        attempts = own.service.attempts(STARTERS)
        try:
            with ThreadPoolExecutor(len(attempts)) as pool:
                calls = [pool.submit(own.service.flee, attempt, own.host) for attempt in attempts]
                time.sleep(delays.uniform(0.02, 0.12))
                own.service.kill_at_once(own.service.front)
                wait(calls)
            check_gone(own, attempts, seconds=HEARD_WITHIN)
        finally:
            end_all(attempts)
        own.service.kill()
        own.service.start()
        assert own.works()


# -- escapees that attack who watches them


@pytest.mark.parametrize("kind", HOSTILE)
def test_attacks_on_who_watches(own: Far, kind: str) -> None:
    """A command can kill and stop what its own account runs, the guard too. No lie is told, and the next run works."""
    attempts = own.service.attempts([kind])
    try:
        jobs = own.start_away(attempts, {"timeout": 2})
        ended = follow(own, attempts, jobs, UNANSWERED)
        assert ended[kind]["state"] in ("lost", "timed_out", "failed"), ended
        wait_until(own.works, "the next run works", seconds=15)
    finally:
        end_all(attempts)
