"""What the contenders run: argument lists by name, the same for all."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS = 40
TICK_MS = 5
WORD = "hello"
_TICKER = str(Path(__file__).with_name("ticker.py"))
_PYTHON = str(Path(sys.executable).resolve())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much the long outputs are: bytes of zeros, and lines of `y`."""

    zeros: int
    lines: int

    def bytes_of(self, program: str) -> int:
        return {"zeros": self.zeros, "lines": 2 * self.lines}[program]


FULL = Sizes(zeros=1 << 30, lines=50_000_000)
QUICK = Sizes(zeros=128 << 20, lines=10_000_000)


def programs(sizes: Sizes) -> Mapping[str, list[str]]:
    """All of them, with absolute paths."""
    return {
        "true": ["/bin/true"],
        "echo": ["/bin/echo", WORD],
        "zeros": ["/usr/bin/head", "-c", str(sizes.zeros), "/dev/zero"],
        "lines": ["/bin/sh", "-c", f"yes | head -n {sizes.lines}"],
        "ticks": [_PYTHON, "-I", "-S", _TICKER, str(TICKS), str(TICK_MS)],
    }
