"""A connection to an SSH host that falls silent, for one side or for both: jobs are lost in time, and nothing survives."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from tests.support.endings import (
    AFTER_DEADLINE,
    GONE_WITHIN,
    LOST_WITHIN,
    Cut,
    Far,
    check_gone,
    check_lost,
    check_talker,
    follow,
)
from tests.support.escaping import end_all
from tests.support.netns import Link, linked
from tests.support.relay import Relay
from tests.support.remote import FLAVOURS, Flavour, Refuge, RemoteEscapes, machine
from tests.support.service import Document, Remote, wait_until
from tests.support.sshd import Sshd

pytestmark = pytest.mark.timeout(240)

LASTING = ("deaf", "session", "daemon", "stranger")
HOPPING = ("gone", "reset_there")
"""The hosts with a hopper as well: each takes half a processor for as long as it lives."""
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
    kinds = (*LASTING, "hopper") if made.host in HOPPING else LASTING
    lasting, brief, recalled = (made.service.attempts(each) for each in (kinds, BRIEF, RECALLED))
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
