"""Which runs of a job may start, and when it is over."""

import pytest

from cmdhttp.jobs.rollout import Rollout


def rollout(total: int, *, at_once: int = 10, batch: int | None = None, most: int | None = None) -> Rollout:
    return Rollout(total=total, max_parallel=at_once, batch=batch or total, max_failures=most)


def after(made: Rollout, *steps: str) -> Rollout:
    """Start, end well (`ok`) or end badly (`bad`), one after the other."""
    for step in steps:
        made = made.start() if step == "start" else made.end(failed=step == "bad")
    return made


S = "start"


@pytest.mark.parametrize(
    ("made", "room"),
    [
        (rollout(1), 1),
        (rollout(5, at_once=3), 3),
        (rollout(5, at_once=3, batch=2), 2),
        (after(rollout(5, at_once=3), S, S), 1),
        (after(rollout(5, at_once=3), S, S, S, "bad"), 1),
        (after(rollout(5, at_once=3), S, S, S, "ok", S, "ok", S), 0),
        (after(rollout(5, batch=2), S, S), 0),
        (after(rollout(5, batch=2), S, S, "ok"), 0),
        (after(rollout(5, batch=2), S, S, "ok", "bad"), 2),
        (after(rollout(5, batch=2), S, S, "ok", "ok", S, S, "ok", "ok"), 1),
        (after(rollout(5, most=0), S, S, "ok"), 3),
        (after(rollout(5, most=0), S, S, "bad"), 0),
        (after(rollout(5, most=1), S, S, "bad"), 3),
        (after(rollout(5, most=1), S, S, "bad", "bad"), 0),
    ],
)
def test_room(made: Rollout, room: int) -> None:
    """As many may start as the limit, the batch and the failures allow."""
    assert made.room == room
    assert made.over is False or made.failed_too_often


def test_it_is_over() -> None:
    """It is over when nothing is under way and nothing may start."""
    assert after(rollout(1), S, "ok").over
    stopped = after(rollout(9, at_once=2, most=0), S, S, "bad")
    assert (stopped.over, stopped.under_way) == (False, 1)
    assert after(stopped, "ok").over
    assert (after(stopped, "ok").started, after(stopped, "ok").total) == (2, 9)


def test_what_may_not_be_is_refused() -> None:
    """No run starts without room, and none ends that did not start."""
    with pytest.raises(ValueError, match="may start"):
        after(rollout(1), S, S)
    with pytest.raises(ValueError, match="under way"):
        after(rollout(1), "ok")
