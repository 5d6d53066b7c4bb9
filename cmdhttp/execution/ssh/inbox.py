"""Output of one run that has arrived and not been taken yet, in order of arrival, and a bell for its taker."""

from collections import deque
from dataclasses import dataclass, field

import anyio

from cmdhttp.execution.model import Output, Stream

COST = 200
"""Bytes that each arrival is reckoned to take beside its own, so that many small ones are no way to fill the memory.

A guard reckons the same for each piece of output: what waits here is then never more than its credit.
"""
_PIECE = 256 * 1024
_SMALL = 1024


@dataclass(slots=True)
class _Piece:
    stream: Stream
    parts: list[bytes | bytearray] = field(default_factory=list)
    size: int = 0
    cost: int = 0


class Inbox:
    """One side puts from callbacks, one task takes. `waiting` is what it holds and `taken` what was taken, `COST`s included."""

    def __init__(self) -> None:
        self.waiting = 0
        self.taken = 0
        self._pieces: deque[_Piece] = deque()
        self._news = anyio.Event()

    def put(self, stream: Stream, data: bytes, *, cost: int = COST) -> None:
        """Add output. Neighbours of one stream become one piece, up to a size."""
        if not self._pieces or self._pieces[-1].stream is not stream or self._pieces[-1].size >= _PIECE:
            self._pieces.append(_Piece(stream))
        piece = self._pieces[-1]
        last = piece.parts[-1] if piece.parts else None
        if len(data) >= _SMALL:
            piece.parts.append(data)
        elif isinstance(last, bytearray):
            last += data
        else:
            piece.parts.append(bytearray(data))
        piece.size += len(data)
        piece.cost += len(data) + cost
        self.waiting += len(data) + cost
        self._news.set()

    def take(self) -> Output | None:
        """Return the next piece of output, or None if there is none right now."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self.waiting -= piece.cost
        self.taken += piece.cost
        first = piece.parts[0]
        whole = first if len(piece.parts) == 1 and isinstance(first, bytes) else b"".join(piece.parts)
        return Output(stream=piece.stream, data=whole)

    def ring(self) -> None:
        """Wake the taker: something else than output has happened."""
        self._news.set()

    async def news(self) -> None:
        """Wait for output or a ring."""
        await self._news.wait()
        self._news = anyio.Event()
