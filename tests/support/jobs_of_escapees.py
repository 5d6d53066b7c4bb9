"""Jobs of escapees on this machine: that all have got away, that nothing is left of them, and what their jobs say."""

import time
from collections.abc import Sequence

from tests.support.escapees import KINDS
from tests.support.escaping import Attempt, EscapeService, end_all, survivors
from tests.support.service import Document, wait_until


def all_away(attempts: list[Attempt]) -> None:
    for attempt in attempts:
        wait_until(attempt.away, f"{attempt.kind} has got away", seconds=30)


LIMITS = (3, 9, 27)
"""Time limits in seconds for runs that have to get away within them; the longer ones are for a machine that is busy."""


def got_away(attempts: Sequence[Attempt], *, within: float) -> bool:
    """Whether all get away in time."""
    give_up = time.monotonic() + within
    while not all(attempt.away() for attempt in attempts):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


SOON = 10.0
"""Seconds; it is one on a machine that has nothing else to do, and an escapee that nobody ends lives for a minute."""


def check_nothing_left(service: EscapeService, attempts: list[Attempt], *, seconds: float = SOON) -> None:
    try:
        assert survivors(attempts, seconds=seconds) == {}
    finally:
        end_all(attempts)
    wait_until(lambda: service.run_folders() == [], "run folders are gone", seconds=20)


def ended(service: EscapeService, jobs: list[Document]) -> list[Document]:
    return [service.finished(job["id"], seconds=30) for job in jobs]


def by_kind(attempts: list[Attempt], jobs: list[Document], *fields: str) -> dict[str, tuple[object, ...]]:
    """What the jobs say in these fields; `code` is the one of the error."""
    told = [{"stopped": None, **job, "code": (job["error"] or {}).get("code")} for job in jobs]
    return {attempt.kind: tuple(job[field] for field in fields) for attempt, job in zip(attempts, told, strict=True)}


def restart(service: EscapeService) -> None:
    service.kill()
    service.start()
    assert service.result("exit", {"params": {"code": 0}})["ok"]


def check_lost(service: EscapeService, attempts: list[Attempt], jobs: list[Document]) -> None:
    verdicts = by_kind(attempts, ended(service, jobs), "state", "code")
    assert verdicts == dict.fromkeys(KINDS, ("lost", "service_restarted"))
