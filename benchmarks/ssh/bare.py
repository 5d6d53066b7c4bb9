"""asyncssh alone, strict about host keys and with our algorithms: what our service adds to is this.

`bare.py warm|cold FLEET CLIENTS SECONDS` runs `true` on the first host, over one connection or over a new one each time, and
prints as JSON how many seconds each and all took. `bare.py fan FLEET CLIENTS COMMAND` runs a command once on each host, and
prints what it said. `bare.py stream FLEET BYTES WINDOW` counts a long output and tells seconds, processor time and peak memory.
"""

import asyncio
import json
import logging
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh

from cmdhttp.execution.ssh.login import algorithms

_READ = 1 << 18


class Dial:
    """Connects to the hosts of a fleet. The key and the known hosts are read once, as we do."""

    def __init__(self, fleet: dict[str, Any]) -> None:
        self.fleet = fleet
        self._key = asyncssh.read_private_key(fleet["key"])
        self._known = asyncssh.read_known_hosts(fleet["known_hosts"])

    async def __call__(self, address: str) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            address,
            self.fleet["port"],
            username=self.fleet["account"],
            client_keys=[self._key],
            known_hosts=self._known,
            config=None,
            agent_path=None,
            kex_algs=algorithms.KEY_EXCHANGE,
            encryption_algs=algorithms.ENCRYPTION,
            mac_algs=algorithms.MAC,
            signature_algs=algorithms.SIGNATURE,
            compression_algs=None,
            preferred_auth="publickey",
        )


async def _true(connection: asyncssh.SSHClientConnection) -> None:
    done = await connection.run("/bin/true", encoding=None)
    if done.exit_status:
        raise RuntimeError(f"true ended with {done.exit_status}")


async def repeat(work: Callable[[], Awaitable[None]], *, clients: int, seconds: float) -> dict[str, object]:
    """Keep `clients` at work for so long."""
    took: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()

    async def client() -> None:
        while (begun := time.perf_counter()) < start + seconds:
            await work()
            took.append(time.perf_counter() - begun)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())
    return {"seconds": time.perf_counter() - start, "took": took, "cpu": time.process_time() - cpu}


async def warm(dial: Dial, clients: int, seconds: float) -> dict[str, object]:
    async with await dial(dial.fleet["addresses"][0]) as connection:
        await _true(connection)
        found = await repeat(lambda: _true(connection), clients=clients, seconds=seconds)
    return found  # noqa: RET504 - for a type checker the block might swallow an error


async def cold(dial: Dial, clients: int, seconds: float) -> dict[str, object]:
    async def once() -> None:
        connection = await dial(dial.fleet["addresses"][0])
        await _true(connection)
        connection.close()  # nobody waits for the host to see it

    return await repeat(once, clients=clients, seconds=seconds)


async def fan(dial: Dial, clients: int, command: str) -> None:
    turn = asyncio.Semaphore(clients)

    async def one(address: str) -> None:
        async with turn, await dial(address) as connection:
            done = await connection.run(command, check=True)
        print(f"{address}: {done.stdout!s}", end="")

    async with asyncio.TaskGroup() as tasks:
        for address in dial.fleet["addresses"]:
            tasks.create_task(one(address))


async def stream(dial: Dial, size: int, window: int) -> dict[str, object]:
    async with await dial(dial.fleet["addresses"][0]) as connection:
        start, cpu = time.perf_counter(), time.process_time()
        process = await connection.create_process(f"head -c {size} /dev/zero", encoding=None, window=window)
        got = 0
        while data := await process.stdout.read(_READ):
            got += len(data)
        if got != size:
            raise RuntimeError(f"{got:,} of {size:,} bytes came")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main() -> None:
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    what, path, first, second = sys.argv[1:]
    dial = Dial(json.loads(Path(path).read_text()))
    if what == "fan":
        asyncio.run(fan(dial, int(first), second))
        return
    found = {
        "warm": lambda: warm(dial, int(first), float(second)),
        "cold": lambda: cold(dial, int(first), float(second)),
        "stream": lambda: stream(dial, int(first), int(second)),
    }[what]()
    print(json.dumps(asyncio.run(found)))


if __name__ == "__main__":
    main()
