"""Nothing survives, rung by rung: all that watches a run is killed at once, or attacked by the run itself."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.escapees import HOSTILE
from tests.support.escaping import EscapeService, end_all, survivors, zombies
from tests.support.jobs_of_escapees import SOON, all_away, check_lost, check_nothing_left, restart
from tests.support.service import wait_until

pytestmark = pytest.mark.timeout(240)


# -- kill -9 of all of it, on each rung


def under(rung: str) -> list[str]:
    """How to start a program so that it has that rung and no higher one; nothing for the highest of this machine."""
    if rung == "any":
        return []
    options = ["--mount", *(["--user", "--map-root-user"] if os.geteuid() != 0 else [])]
    if rung == "container":
        return ["unshare", *options, "--pid", "--fork", "--kill-child", "--mount-proc"]
    hide = 'grep " - cgroup2 " /proc/self/mountinfo | while read -r _ _ _ _ at _; do umount "$at" || exit 1; done; exec "$@"'
    return ["unshare", *options, "sh", "-ec", hide, "sh"]


@pytest.mark.parametrize("rung", ["any", pytest.param("container", marks=pytest.mark.long), "subreaper"])
def test_all_killed_at_once(tmp_path: Path, rung: str) -> None:
    """When front, broker and guards are killed at one moment, each rung keeps its own promise."""
    with EscapeService.running(tmp_path / "service", prefix=under(rung)) as service:
        seen = service.rung
        if rung != "any":
            assert seen == rung
        attempts = service.attempts()
        try:
            jobs = [service.escape(attempt) for attempt in attempts]
            all_away(attempts)
            service.kill_at_once(service.front, service.broker, *service.guards)
            if seen == "container":
                assert survivors(attempts, seconds=SOON) == {}
            restart(service)
            allowed = {"stranger"} if seen == "subreaper" else set()
            watched = [attempt for attempt in attempts if attempt.kind not in allowed]
            assert survivors(watched, seconds=SOON) == {}
            assert set(survivors(attempts, seconds=0)) == allowed
        finally:
            end_all(attempts)
        assert service.run_folders() == []
        check_lost(service, attempts, jobs)
        service.stderr.write_text("")
        if seen == "container":
            os.kill(service.front, signal.SIGTERM)  # unshare would not hand it on


# -- escapees that attack who watches them


ATTACKS = {
    "killer": ("lost", "guard_lost"),
    "strange_killer": ("lost", "guard_lost"),
    "freezer": ("lost", "guard_lost"),
    "deep_freezer": ("lost", "guard_lost"),
}


@pytest.mark.parametrize("rung", ["any", "subreaper"])
def test_attacks_on_who_watches(tmp_path: Path, rung: str) -> None:
    """A command with the service's account can kill and stop the processes around it; it gains no life by it."""
    with EscapeService.running(tmp_path / "service", prefix=under(rung)) as service:
        verdicts = {}
        for attempt in service.attempts(HOSTILE):
            job = service.escape(attempt)
            wait_until(attempt.away, f"{attempt.kind} has got away", seconds=30)
            check_nothing_left(service, [attempt])
            ended = service.finished(job["id"], seconds=30)
            verdicts[attempt.kind] = (ended["state"], (ended["error"] or {}).get("code"))
            assert service.result("exit", {"params": {"code": 0}})["ok"]
        assert verdicts == ATTACKS
        assert zombies(service.front) == []
        service.stderr.write_text("")
