"""Output of one run that has arrived and not been taken yet, in order of arrival, and a bell for its taker."""

from collections import deque
from dataclasses import dataclass, field

import anyio

from cmdhttp.execution.model import Output, Stream

_PIECE = 256 * 1024
_PIECE_COST = 200


@dataclass(slots=True)
class _Piece:
    stream: Stream
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Inbox:
    """One side puts from callbacks, one task takes. `waiting` is what it holds in bytes, the cost of small pieces included."""

    def __init__(self) -> None:
        self.waiting = 0
        self._pieces: deque[_Piece] = deque()
        self._news = anyio.Event()

    def put(self, stream: Stream, data: bytes) -> None:
        """Add output. Neighbours of one stream become one piece, up to a size."""
        if not self._pieces or self._pieces[-1].stream is not stream or self._pieces[-1].size >= _PIECE:
            self._pieces.append(_Piece(stream))
            self.waiting += _PIECE_COST
        piece = self._pieces[-1]
        piece.parts.append(data)
        piece.size += len(data)
        self.waiting += len(data)
        self._news.set()

    def take(self) -> Output | None:
        """Return the next piece of output, or None if there is none right now."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self.waiting -= piece.size + _PIECE_COST
        return Output(stream=piece.stream, data=piece.parts[0] if len(piece.parts) == 1 else b"".join(piece.parts))

    def ring(self) -> None:
        """Wake the taker: something else than output has happened."""
        self._news.set()

    async def news(self) -> None:
        """Wait for output or a ring."""
        await self._news.wait()
        self._news = anyio.Event()
