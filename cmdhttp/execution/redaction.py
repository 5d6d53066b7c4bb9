"""What a run's output must not show is masked before anything keeps or tells it.

Two nets, one behind the other. The first takes declared secrets, as they are and as common encodings spell them, wherever
reads cut them: no byte that is part of such a spelling is told, and what comes out is the same however the bytes came in.
It holds back only what may be the start of a spelling. The second takes the masks of the policy, line by line, and so
holds each line until it ends. Masked text becomes `***`.

A net, not a wall: whoever writes the program can spell a secret in a way that is not here.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from cmdhttp.execution.spellings import FLOOR, needles
from cmdhttp.linear import Mask, compile_any_of, compile_mask

MASK = b"***"

LONGEST_LINE = 64 << 10
"""Bytes of a line that wait for its end. Of a longer one all but the last `OVERLAP` are told."""

OVERLAP = 4 << 10
"""Bytes of the longest match that is sure to be masked in a line over `LONGEST_LINE`."""

_ANCHOR = 16
_START = 4


# What a run looks for.


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
class Rules:
    """What is masked in the output of the runs of one call, ready to be looked for. It shows nothing of it."""

    secrets: "Secrets | None" = field(default=None, repr=False)
    masks: tuple[Mask, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, secrets: tuple[bytes, ...], masks: tuple[str, ...]) -> "Rules | None":
        """Return the rules, or None if there is nothing to mask. Takes milliseconds for a secret of many lines.

        Runs at the same time share them; they go with the last of these.
        """
        if shared := _in_use.get((secrets, masks)):
            return shared
        texts = needles(secrets)
        if not texts and not masks:
            return None
        rules = cls(secrets=Secrets(texts) if texts else None, masks=tuple(map(compile_mask, masks)))
        _in_use[secrets, masks] = rules
        return rules


_in_use: WeakValueDictionary[tuple[tuple[bytes, ...], tuple[str, ...]], Rules] = WeakValueDictionary()


class Secrets:
    """All spellings of all secrets, to be found by their first bytes and then told apart."""

    __slots__ = ("_anchors", "_longest", "_needles", "_shorter", "_starts")

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._needles = sorted(needles)
        self._longest = max(map(len, self._needles))
        self._anchors = compile_any_of({needle[:_ANCHOR] for needle in self._needles})
        self._starts = frozenset(needle[:size] for needle in self._needles for size in range(1, _START + 1))
        self._shorter = list(self._longest_starts())

    def find(self, data: bytes) -> tuple[list[tuple[int, int]], int]:
        """Return where spellings are, sorted, overlaps and all, and where one may begin that is not all there yet.

        Nothing that begins at that second place or after it is among the first.
        """
        held = self._open_tail(data)
        spans: list[tuple[int, int]] = []
        before, size_before = -_ANCHOR, -1
        found = self._anchors.search(data)
        while found is not None and (at := found.start()) < held:
            size, open_ended = self._at(data[at : at + self._longest])
            if open_ended:
                return spans, at
            start, shift = at, at - before
            if shift < _ANCHOR and size == size_before and (shift < size or not size):
                at += shift * self._repeats(data, before, shift=shift, held=held)
            if size:
                spans.append((start, at + size))
            before, size_before = at, size
            found = self._anchors.search(data, at + 1)
        return spans, held

    def _repeats(self, data: bytes, at: int, *, shift: int, held: int) -> int:
        """How often what begins at `at`, and again after `shift`, does so once more: the same is there, and nothing between.

        Without this, a row of one character would take a search for each byte of it.
        """
        same = _same(data, at, at + shift)
        return max(0, min((shift + same - self._longest) // shift, (held - 1 - at) // shift) - 1)

    def _longest_starts(self) -> Iterator[int]:
        """For each needle, the longest other one that it starts with: its place, or -1."""
        open_: list[int] = []
        for place, needle in enumerate(self._needles):
            while open_ and not needle.startswith(self._needles[open_[-1]]):
                open_.pop()
            yield open_[-1] if open_ else -1
            open_.append(place)

    def _at(self, window: bytes) -> tuple[int, bool]:
        """Return the size of the longest needle that the window starts with, and whether it could become a longer one."""
        place = bisect_right(self._needles, window)
        open_ended = place < len(self._needles) and self._needles[place].startswith(window)
        place -= 1
        while place >= 0 and not window.startswith(self._needles[place]):
            place = self._shorter[place]
        return (len(self._needles[place]) if place >= 0 else 0), open_ended

    def _open_tail(self, data: bytes) -> int:
        """Where the last bytes begin a needle and are fewer than an anchor."""
        size = len(data)
        return next(
            (
                at
                for at in range(max(0, size - _ANCHOR + 1), size)
                if data[at : at + _START] in self._starts and self._at(data[at:])[1]
            ),
            size,
        )


def _same(data: bytes, first: int, second: int) -> int:
    """How many bytes from the one place on are those from the other place on."""
    same, step, most = 0, 64, len(data) - second
    while (
        same + step <= most and data[first + same : first + same + step] == data[second + same : second + same + step]
    ):
        same, step = same + step, step * 2
    while step > 1:
        step //= 2
        if (
            same + step <= most
            and data[first + same : first + same + step] == data[second + same : second + same + step]
        ):
            same += step
    return same


# What a stream holds back.


class Redactor:
    """Masks one stream of one run."""

    __slots__ = ("_stages",)

    def __init__(self, rules: Rules) -> None:
        self._stages: list[_SecretStage | _LineStage] = []
        if rules.secrets:
            self._stages.append(_SecretStage(rules.secrets))
        if rules.masks:
            self._stages.append(_LineStage(rules.masks))

    def feed(self, data: bytes) -> bytes:
        """Return what can be told now."""
        for stage in self._stages:
            data = stage.feed(data)
        return data

    def rest(self) -> bytes:
        """Return what is still held, at the end of the stream.

        If that is the start of a secret, of `FLOOR` bytes or more, it is masked: the run may have been cut off in its midst.
        """
        data = b""
        for stage in self._stages:
            data = stage.feed(data) + stage.rest()
        return data


class _SecretStage:
    """Holds the start of what may be a spelling; `_covered` bytes of that belong to one that has been masked already."""

    __slots__ = ("_covered", "_held", "_secrets")

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._held = b""
        self._covered = 0

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
        spans, cut = self._secrets.find(data)
        told, self._covered = _masked(data, spans, covered=self._covered, cut=cut)
        self._held = data[cut:]
        return told

    def rest(self) -> bytes:
        held, covered = self._held, self._covered
        self._held, self._covered = b"", 0
        if len(held) < FLOOR:
            return held[covered:]
        return b"" if covered else MASK


class _LineStage:
    """Holds a line until it ends or grows too long.

    `_line` begins with `_told` bytes that have been told and are there for what looks back; `_covered` bytes of it were
    masked already. In the midst of a match that is over all bounds, the rest of the line is masked (`_swallowing`).
    """

    __slots__ = ("_covered", "_line", "_masks", "_swallowing", "_told")

    def __init__(self, masks: Sequence[Mask]) -> None:
        self._masks = masks
        self._line = bytearray()
        self._told = self._covered = 0
        self._swallowing = False

    def feed(self, data: bytes) -> bytes:
        if self._swallowing:
            end = data.find(b"\n")
            if end < 0:
                return b""
            data, self._swallowing = data[end:], False
        end, told = data.rfind(b"\n") + 1, b""
        if end:
            told = self._tell(bytes(self._line) + data[:end] if self._line else data[:end])
            data = data[end:]
        self._line += data
        if len(self._line) - self._told > LONGEST_LINE:
            told += self._tell_most(bytes(self._line))
        return told

    def rest(self) -> bytes:
        self._swallowing = False
        return self._tell(bytes(self._line))

    def _tell(self, lines: bytes) -> bytes:
        """Tell all of it, and begin anew."""
        told, _ = _masked(lines, self._find(lines), covered=max(self._covered, self._told), cut=len(lines))
        self._line.clear()
        self._told = self._covered = 0
        return told

    def _tell_most(self, line: bytes) -> bytes:
        """Tell a line that is too long, but for its end, and but for a match that reaches the end and may go on."""
        spans, since = self._find(line), max(self._covered, self._told)
        cut = min(len(line) - OVERLAP, _last_open(spans, len(line)))
        if cut <= since:
            told = self._tell(line)
            self._swallowing = True
            return told
        told, covered = _masked(line, spans, covered=since, cut=cut)
        self._line, self._told = bytearray(line[cut - 1 :]), 1
        self._covered = covered + 1 if covered else 0
        return told

    def _find(self, line: bytes) -> list[tuple[int, int]]:
        return sorted(span for mask in self._masks for span in mask.find(line, since=self._told))


def _last_open(spans: Iterable[tuple[int, int]], size: int) -> int:
    """Where those of the sorted spans begin that lead, one overlapping the next, up to `size`; `size` if none does."""
    start = end = 0
    for first, last in spans:
        start, end = (start, max(end, last)) if first < end else (first, last)
    return start if end == size else size


def _masked(data: bytes, spans: Iterable[tuple[int, int]], *, covered: int, cut: int) -> tuple[bytes, int]:
    """Return `data` up to `cut` with each span that begins there masked, and how much is covered after that.

    Spans that overlap become one mask. The first `covered` bytes belong to a mask that has been told.
    """
    told: list[bytes] = []
    end = covered
    for start, stop in spans:
        if start >= cut:
            break
        if start >= end:
            told += (data[end:start], MASK)
        end = max(end, stop)
    if end == 0 and cut == len(data):
        return data, 0
    told.append(data[end:cut])
    return b"".join(told), max(0, end - cut)
