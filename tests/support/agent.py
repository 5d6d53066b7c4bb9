"""A real ssh-agent on a socket of its own, for the length of a `with` block."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh

_WAIT = 60.0


class Agent:
    """One agent; `socket` is where it listens."""

    def __init__(self, place: Path) -> None:
        self.socket = place

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path) -> Iterator["Agent"]:
        agent = cls(folder / "agent.sock")
        process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(agent.socket)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            give_up = time.monotonic() + _WAIT
            while not agent.listens():
                if process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError("ssh-agent did not start")
                time.sleep(0.01)
            yield agent
        finally:
            process.kill()
            process.wait()
            agent.socket.unlink(missing_ok=True)

    def listens(self) -> bool:
        """Its socket is there a moment before anything can connect to it."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def add(self, key: Path, *options: str) -> None:
        self._ssh_add(*options, str(key))

    async def lock(self) -> None:
        """Let it answer as one without keys, and sign nothing."""
        async with asyncssh.SSHAgentClient(str(self.socket)) as client:
            await client.lock("locked")

    def _ssh_add(self, *arguments: str) -> None:
        env = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": str(self.socket)}
        subprocess.run(
            ["ssh-add", "-q", *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True, env=env
        )
