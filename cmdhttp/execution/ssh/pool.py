"""The pool: connections that are kept between runs, one set for each place.

Equal targets are one place. A place never has more than `_MOST_LINKS` connections and never dials twice at once, or
`_MOST_HANDSHAKES` times for runs that share nothing; a connection closes when nobody has used it for a while, when its login
has grown old, and when it breaks. After a failure the place is left alone for a time that doubles, and whoever comes meanwhile
is told the last reason at once. A jump host is a place like any other.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import anyio

from cmdhttp.execution.model import Figures, RunErrorCode
from cmdhttp.execution.ssh.failures import ConnectFailed, at_jump, unreachable
from cmdhttp.execution.ssh.link import TUNNELS, Link, prepare
from cmdhttp.execution.ssh.login.dial import Dialed, Dialer, close
from cmdhttp.plan.model import SshTarget

_MOST_LINKS = 4
_LEAST_IDLE = 0.1
_MOST_HANDSHAKES = 4
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_BACKED_OFF = frozenset({RunErrorCode.CONNECT_FAILED, RunErrorCode.LOGIN_FAILED, RunErrorCode.LOGIN_SHELL_FAILED})


@dataclass(slots=True)
class _Trouble:
    failed: ConnectFailed
    pause: float
    until: float


@dataclass(slots=True)
class _Place:
    """One target, for runs or for tunnels."""

    links: list[Link] = field(default_factory=list)
    dialing: "asyncio.Task[ConnectFailed | None] | None" = None
    waiters: "deque[asyncio.Future[None]]" = field(default_factory=deque)
    trouble: _Trouble | None = None
    callers: int = 0
    handshakes: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(_MOST_HANDSHAKES))

    def free(self, now: float, version: object) -> Link | None:
        """The busiest link that has room: the others may then fall idle."""
        free = [link for link in self.links if link.free and link.version == version and link.usable(now)]
        return max(free, key=lambda link: link.users, default=None)

    def wake(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    @property
    def empty(self) -> bool:
        return not self.links and not self.callers and self.dialing is None and self.trouble is None


class Pool:
    """Lends connections. `prepare_timeout` (the guard's start) and `idle` (how long one is kept unused) are in seconds."""

    def __init__(self, dialer: Dialer, *, prepare_timeout: float = 10.0, idle: float = 60.0) -> None:
        self._dialer = dialer
        self._prepare_timeout = prepare_timeout
        self._idle = idle
        self._places: dict[tuple[SshTarget, bool], _Place] = {}
        self._homes: dict[Link, _Place] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._closing = False

    async def take(self, target: SshTarget, *, tunnel: bool = False) -> Link:
        """Return a link to run on, or to tunnel through; `give_back` it. Raises ConnectFailed."""
        if target.become is not None:
            target = replace(target, become=None)  # who is become after the login is nothing to the connection
        with self._at(target, tunnel=tunnel) as place:
            try:
                return await self._taken(target, place, tunnel=tunnel)
            except ConnectFailed:
                place.wake()  # its turn may have been the only one that was given
                raise

    async def _taken(self, target: SshTarget, place: _Place, *, tunnel: bool) -> Link:
        what = "reused"
        while True:
            version = self._dialer.version(target)
            link = place.free(_now(), version)
            if link is not None:
                self._counts["lease", what] += 1
                return _lent(link)
            if self._closing:
                raise unreachable("The service is stopping.")
            self._tidy(place, version=version)
            if self._may_dial(place):
                what = "new"
                await self._dial_and_tell(target, place, tunnel=tunnel)
            elif place.dialing is not None and not place.links:
                self._check_trouble(place)
                await _outcome(place.dialing)
            else:
                self._make_room(place)
                await _turn(place)

    @contextmanager
    def _at(self, target: SshTarget, *, tunnel: bool) -> Iterator[_Place]:
        """The place of a target, which stays known for as long as there is something to know of it."""
        place = self._places.setdefault((target, tunnel), _Place())
        place.callers += 1
        try:
            yield place
        finally:
            place.callers -= 1

    async def _dial_and_tell(self, target: SshTarget, place: _Place, *, tunnel: bool) -> None:
        self._check_trouble(place)
        place.dialing = asyncio.get_running_loop().create_task(self._open(target, place, tunnel=tunnel))
        self._own(place.dialing)
        if not place.links:
            await _outcome(place.dialing)
        else:
            await asyncio.wait([place.dialing])

    def give_back(self, link: Link) -> None:
        """Return a link that `take` lent."""
        link.users -= 1
        place = self._homes.get(link)
        if place is not None:
            place.wake()
            if link.usable(_now()):
                if link.users == 0:
                    idle = 0.0 if self._wanted(link) else self._idle
                    link.idle = asyncio.get_running_loop().call_later(idle, self._end_idle, link)
                return
            self._drop(link)
        if link.users == 0:
            self._end(link, "broken" if link.connection.is_closed() else "old")

    def refused(self, link: Link) -> None:
        """Learn that the host does not open as many channels on one connection as it was asked for."""
        link.capacity = max(1, min(link.capacity, link.users - 1))

    @asynccontextmanager
    async def single(self, target: SshTarget, *, only: str | None, job: str, principal: str) -> AsyncIterator[Dialed]:
        """Yield a connection that serves nobody else, with a certificate for `only` (None: any). Raises ConnectFailed."""
        jump = None if target.jump is None else await self._jump(target.jump)
        try:
            through = None if jump is None else jump.connection
            with self._at(target, tunnel=False) as place:
                async with place.handshakes:  # a host drops logins beyond its MaxStartups, whoever they are for
                    self._check_trouble(place)
                    dialing = self._dialer.dial(target, through=through, only=only, job=job, principal=principal)
                    dialed = await self._noted(place, dialing)
            try:
                yield dialed
            finally:
                await close(dialed.connection)
        finally:
            if jump is not None:
                self.give_back(jump)

    async def aclose(self) -> None:
        """Close every connection, and wait for it."""
        self._closing = True
        for place in list(self._places.values()):
            if place.dialing is not None:
                place.dialing.cancel()
            for link in list(place.links):
                self._drop(link)
                self._end(link, "stop")
            while place.waiters:
                place.wake()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def figures(self) -> Figures:
        """What there is now."""
        now = _now()
        places = self._places.values()
        links = [link for place in places for link in place.links]
        return Figures(
            open=len(links),
            in_use=sum(link.users > 0 for link in links),
            backing_off=sum(place.trouble is not None and place.trouble.until > now for place in places),
            waiting=sum(len(place.waiters) for place in places),
            counts=Counter(self._counts),
        )

    # Opening.

    def _may_dial(self, place: _Place) -> bool:
        if place.dialing is not None or len(place.links) >= _MOST_LINKS:
            return False
        # Where something is open, a failure to open more only means to wait for one's turn.
        return not place.links or place.trouble is None or place.trouble.until <= _now()

    def _check_trouble(self, place: _Place) -> None:
        """Raises ConnectFailed at a place that is to be left alone, or that somebody else is trying again just now."""
        trouble = place.trouble
        if trouble is None or (trouble.until <= _now() and place.dialing is None):
            return
        self._counts["lease", "backed_off"] += 1
        error = trouble.failed.error
        wait = max(1, math.ceil(trouble.until - _now()))
        detail = f"{error.detail} That was the last attempt; the next one is due in {wait} s."
        raise ConnectFailed(error.code, detail, hint=error.hint)

    async def _open(self, target: SshTarget, place: _Place, *, tunnel: bool) -> ConnectFailed | None:
        try:
            version = self._dialer.version(target)
            link = await self._opened(target, place, tunnel=tunnel)
            link.version = version
        except ConnectFailed as failed:
            self._note(place, failed)
            return failed
        else:
            self._note(place, None)
            place.links.append(link)
            self._homes[link] = place
            link.idle = asyncio.get_running_loop().call_later(self._idle, self._end_idle, link)
            return None
        finally:
            place.dialing = None
            for _ in range(len(place.waiters)):
                place.wake()

    async def _opened(self, target: SshTarget, place: _Place, *, tunnel: bool) -> Link:
        jump = None if target.jump is None else await self._jump(target.jump)
        try:
            dialed = await self._dialer.dial(target, through=None if jump is None else jump.connection)
            try:
                if tunnel:
                    link = Link(dialed=dialed, capacity=TUNNELS)
                else:
                    tidy = partial(self._guard_ended, place)
                    link = await prepare(dialed, target, seconds=self._prepare_timeout, on_end=tidy)
            except BaseException:
                await close(dialed.connection)
                raise
        except BaseException:
            if jump is not None:
                self.give_back(jump)
            raise
        link.jump = jump
        return link

    async def _jump(self, target: SshTarget) -> Link:
        try:
            return await self.take(target, tunnel=True)
        except ConnectFailed as failed:
            raise at_jump(failed) from failed

    async def _noted(self, place: _Place, dial: Awaitable[Dialed]) -> Dialed:
        before = place.trouble
        try:
            dialed = await dial
        except ConnectFailed as failed:
            if place.trouble is None or place.trouble is before:
                self._note(place, failed)
            else:  # of several at once the first failure counts: they say no more together than one alone
                self._counts["dial", failed.error.code] += 1
            raise
        self._note(place, None)
        return dialed

    def _note(self, place: _Place, failed: ConnectFailed | None) -> None:
        self._counts["dial", "ok" if failed is None else failed.error.code] += 1
        if failed is None or not failed.tried or failed.error.code not in _BACKED_OFF:
            place.trouble = None
            return
        if place.trouble is not None and place.trouble.until > _now():
            return  # what was under way at the last failure counts with it
        pause = _FIRST_PAUSE if place.trouble is None else min(2 * place.trouble.pause, _LONGEST_PAUSE)
        place.trouble = _Trouble(failed=failed, pause=pause, until=_now() + pause)

    # Closing.

    def _tidy(self, place: _Place, *, version: object = None) -> None:
        """Lend no more what is broken, old, or was opened by other files than there are now."""
        now = _now()
        for link in list(place.links):
            if link.usable(now) and version in (None, link.version):
                continue
            self._drop(link)
            if link.users == 0:
                self._end(link, "broken" if link.connection.is_closed() else "old")

    def _guard_ended(self, place: _Place) -> None:
        self._tidy(place)
        place.wake()

    def _end_idle(self, link: Link) -> None:
        place = self._homes.get(link)
        if place is None or link.users:
            return
        if place.callers:  # somebody waited for it to open and has not had a turn of the loop since
            link.idle = asyncio.get_running_loop().call_later(max(self._idle, _LEAST_IDLE), self._end_idle, link)
            return
        self._drop(link)
        self._end(link, "idle")

    def _drop(self, link: Link) -> None:
        """Lend a link no more."""
        self._homes.pop(link).links.remove(link)

    def _end(self, link: Link, why: str) -> None:
        if link.idle is not None:
            link.idle.cancel()
        self._counts["close", why] += 1
        self._own(asyncio.get_running_loop().create_task(self._close(link)))
        for key in [key for key, place in self._places.items() if place.empty]:
            del self._places[key]

    async def _close(self, link: Link) -> None:
        await close(link.connection)
        jump, link.jump = link.jump, None
        if jump is not None:
            self.give_back(jump)

    def _wanted(self, link: Link) -> bool:
        """Whether somebody waits for the room on a jump host that this link takes."""
        place = None if link.jump is None else self._homes.get(link.jump)
        return place is not None and bool(place.waiters)

    def _make_room(self, place: _Place) -> None:
        """Close one link that nobody uses and that leads through this place: somebody else needs its room."""
        idle = next((link for link in self._homes if link.users == 0 and link.jump in place.links), None)
        if idle is not None:
            self._end_idle(idle)

    def _own(self, task: "asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[ConnectFailed | None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _lent(link: Link) -> Link:
    if link.idle is not None:
        link.idle.cancel()
        link.idle = None
    link.users += 1
    return link


async def _outcome(dialing: "asyncio.Task[ConnectFailed | None]") -> None:
    """Wait for a dial without a say in it. Raises what it failed with."""
    await asyncio.wait([dialing])
    if dialing.cancelled():
        raise unreachable("The service is stopping.")
    failed = dialing.result()
    if failed is not None:
        raise failed


async def _turn(place: _Place) -> None:
    """Wait until a link has room, or a dial has ended."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    place.waiters.append(waiter)
    try:
        await waiter
    except BaseException:
        if waiter.done() and not waiter.cancelled():
            place.wake()  # the turn goes to the next one
        raise
    finally:
        if waiter in place.waiters:
            place.waiters.remove(waiter)


def _now() -> float:
    return asyncio.get_running_loop().time()
