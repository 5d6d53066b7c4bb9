"""Followers of jobs that wait learn where these stand: a few jobs each second, the longest due first.

Where all stand is found out once for all of them, and only if somebody follows one: 10,000 jobs that wait cost a look at
each a second, and no more than a fixed number of events, however many are followed.
"""

from collections.abc import Callable, Iterable
from heapq import nsmallest

import anyio

from cmdhttp.jobs.admission import Admission
from cmdhttp.jobs.live import LiveJob
from cmdhttp.jobs.progress import PLACE_PAUSE

MOST = 100
"""Events a second."""


async def tell_places(lives: Callable[[], Iterable[LiveJob]], admission: Admission, *, may: Callable[[], bool]) -> None:
    """Tell each second, for ever. `may` says whether the disk has room for such events."""
    while True:
        await anyio.sleep(PLACE_PAUSE)
        if may():
            tell_once(lives(), admission)


def tell_once(lives: Iterable[LiveJob], admission: Admission) -> None:
    """Tell of those that are due."""
    found = ((late, live) for live in lives if (late := live.place_due()) is not None)
    due = [live for _, live in nsmallest(MOST, found, key=lambda each: each[0])]
    for live, place in zip(due, admission.places([live.ticket for live in due]), strict=True):
        live.tell_place(place)
