"""The process: a data folder, a broker, a policy, two listeners and the service between them.

The order of a start is: data folder, broker (which ends what an earlier life left), policy, listeners, recovery of the jobs
of an earlier life. The order of a stop is: readiness fails, streams are interrupted, running jobs finish or are ended,
listeners close, records close, the broker ends. Until the stop the policy is watched, and loaded again when it changes or on
SIGHUP.
"""

import asyncio
import errno
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio.abc import TaskStatus

from cmdhttp.composition import running
from cmdhttp.errors import ConfigError
from cmdhttp.execution.local.link import BrokerConfig, BrokerLink, Brokers, OwnBrokers
from cmdhttp.http_server import HttpServer, listener
from cmdhttp.jobs.hub import Hub
from cmdhttp.reload.reloader import PolicyHolder, Reloader
from cmdhttp.reload.source import PolicySource
from cmdhttp.settings import Settings

_log = logging.getLogger("cmdhttp.server")
_DESCRIPTORS = 65536
_COLLECT_AFTER = 10_000
_BROKER_SECONDS = 30.0
_FEWEST_GUARDS, _MOST_GUARDS = 2, 4
"""How many are kept when nothing runs: more than there are processors cannot start anything sooner."""
_LONGEST_PID = 20


def serve(
    settings: Settings,
    source: PolicySource,
    *,
    announce: Callable[[], None] = lambda: None,
    brokers: Brokers | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError if the policy, the data folder or a listen address cannot be used.

    `announce` is called once they are taken. `brokers` starts brokers where this process has not the rights to.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload, it must not end the program
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with _data_folder(settings.data), _broker(brokers or OwnBrokers(broker_config(settings), adopt=True)) as link:
        holder = PolicyHolder(source)
        with (
            listener(settings.listen, flag="--listen") as api,
            listener(settings.ops_listen, flag="--ops-listen") as ops,
        ):
            announce()
            _raise_descriptor_limit()
            try:
                asyncio.run(_serve(_Parts(settings, source, holder, link), api=api, ops=ops))
            except BaseExceptionGroup as group:
                raise _refusal(group) from None


def _refusal(group: BaseException) -> BaseException:
    """Return why the service cannot start, if that is all that went wrong, out of the groups that tasks wrap it in."""
    inner = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner if isinstance(inner, ConfigError) else group


class _Parts(NamedTuple):
    """What is there before the event loop runs."""

    settings: Settings
    source: PolicySource
    holder: PolicyHolder
    link: BrokerLink


async def _serve(parts: _Parts, *, api: socket.socket, ops: socket.socket) -> None:
    settings = parts.settings
    async with (
        _brokered(parts.link),
        running(*parts) as house,
        _reloading(house.reloader),
        house.upkeep.going_on(),
        anyio.create_task_group() as group,
    ):
        stop = anyio.Event()
        servers = [
            HttpServer(house.api, socket=api, keep_alive=settings.keep_alive),
            HttpServer(house.ops, socket=ops, keep_alive=settings.keep_alive),
        ]
        await group.start(_watch_signals, stop, house.hub)  # before anyone can be told that the service is ready
        for server in servers:
            group.start_soon(server.run_until_told)
        _log.info("serving on %s, operations on %s", settings.listen, settings.ops_listen)
        _spare_the_collector()
        await house.supervisor.serve(until=stop, drain=settings.drain)
        for server in servers:
            server.should_exit = True
        _log.info("stopping")


def _spare_the_collector() -> None:
    """Let the garbage collector look at what calls make, seldom, and at the program and its policy not at all.

    A call leaves no cycles, so there is hardly anything to find, and a look at all that stays would stop every call.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


# -- signals


async def _watch_signals(stop: anyio.Event, hub: Hub, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            hub.drain()
            stop.set()
            return


@asynccontextmanager
async def _reloading(reloader: Reloader) -> AsyncIterator[None]:
    """Keep the policy up to date, to the very end of the stop: a late SIGHUP must not kill what still drains."""
    async with anyio.create_task_group() as group:
        group.start_soon(reloader.watch)
        group.start_soon(_watch_hangups, reloader)
        yield
        group.cancel_scope.cancel()


async def _watch_hangups(reloader: Reloader) -> None:
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            reloader.ask()


# -- the broker


def broker_config(settings: Settings) -> str:
    """What a broker for these settings is told."""
    config = BrokerConfig(
        policies=settings.policies,
        secrets=settings.secrets_folder,
        runs=settings.runs_folder,
        cgroup=f"cmdhttp-{settings.instance}",
        interpreters=settings.interpreters,
        ready=max(_FEWEST_GUARDS, min(_MOST_GUARDS, len(os.sched_getaffinity(0)))),
        most=settings.max_running,
        account=settings.local_account,
        front=settings.user or None,
        by_itself=settings.policy_poll > 0,
    )
    return config.text()


@contextmanager
def _broker(brokers: Brokers) -> Iterator[BrokerLink]:
    """Start the broker, so that it loads its copy of the policy while the front loads its own; it ends with the block."""
    link = BrokerLink(brokers)
    try:
        link.start()
        yield link
    finally:
        link.close()


@asynccontextmanager
async def _brokered(link: BrokerLink) -> AsyncIterator[None]:
    """Go on once the broker is ready, and keep one there. Raises ConfigError if none comes."""
    async with anyio.create_task_group() as group:
        group.start_soon(link.serve)
        with anyio.move_on_after(_BROKER_SECONDS):
            await link.ready()
        if not link.rung:
            raise ConfigError(
                "the process that starts local programs does not start", hint="The lines above this one say why."
            )
        yield
        group.cancel_scope.cancel()


# -- what is taken before the event loop runs


def _raise_descriptor_limit() -> None:
    """For this process alone: what it started before keeps the limit that it was given."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))


@contextmanager
def _data_folder(folder: Path) -> Iterator[None]:
    """Hold the data folder for this process alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "Let it belong to the account that serves (chown -R), or name another folder with --data."
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            hint = "It needs a disk that can be written and has room; make some, or name another folder with --data."
        raise ConfigError(f"the data folder {folder} cannot be used: {error.strerror}", hint=hint) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, _LONGEST_PID, 0).strip()
        os.close(descriptor)
        who = f" (process {int(holder)})" if holder.isdigit() else ""
        hint = "Stop the other one, or give this one another --data folder."
        raise ConfigError(f"another cmdhttp uses the data folder {folder}{who}", hint=hint) from error
    except OSError as error:
        os.close(descriptor)
        hint = "Make room on its disk, or name another folder with --data."
        raise ConfigError(f"the data folder {folder} cannot be written: {error.strerror}", hint=hint) from error
    try:
        yield
    finally:
        os.close(descriptor)
