"""Both streams of the terminal or pipe, and the one line that is redrawn.

Bytes go to a pipe as they are. A terminal gets them escaped, unless `raw`. The progress line is on stderr, only if that is a
terminal; it is gone before anything else is written, and never stands within a line of output.
"""

import errno
import os
import select
from collections import defaultdict
from collections.abc import Iterable

from cmdhttp.cli.calls.escaping import Escaper, escaped_line

_LONGEST_LINE = 64 << 10
_NARROW = 80
STDOUT, STDERR = "stdout", "stderr"


class OutputLost(Exception):
    """stdout cannot be written any more: who reads it has gone, or a disk is full. `reader_gone` tells which."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_gone = isinstance(error, BrokenPipeError)


class Screen:
    """`out` and `err` are descriptors. With `quiet` no progress line is drawn and no notice of the way is given."""

    def __init__(self, *, out: int = 1, err: int = 2, raw: bool = False, quiet: bool = False) -> None:
        self._descriptors = {STDOUT: out, STDERR: err}
        self._closed = _closed_streams()
        self._escaped = {name: _is_terminal(fd) and not raw for name, fd in self._descriptors.items()}
        self._escapers: dict[str, Escaper] = defaultdict(Escaper)
        self._lines: dict[tuple[str, str], bytes] = {}
        self.shows_progress = _is_terminal(err) and not quiet
        self._quiet = quiet
        self._progress = ""

    def output(self, stream: str, data: bytes) -> None:
        """Show bytes of the one run. Raises OutputLost."""
        shown = self._escapers[stream].feed(data).encode() if self._escaped[stream] else data
        self._write(stream, shown)

    def host_output(self, host: str, stream: str, data: bytes) -> None:
        """Show the whole lines of a run among others; the rest is held for its end, or until it is too long."""
        data = self._lines.pop((host, stream), b"") + data
        *lines, rest = data.split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
        elif rest:
            self._lines[host, stream] = rest
        self._write_lines(host, stream, lines)

    def host_end(self, host: str) -> None:
        """Show what is held of a run's last lines."""
        for stream in (STDOUT, STDERR):
            if rest := self._lines.pop((host, stream), b""):
                self._write_lines(host, stream, [rest])

    def end(self) -> None:
        """Show what is held within a character, and take the progress line away."""
        for stream, escaper in self._escapers.items():
            self._write(stream, escaper.feed(b"", last=True).encode())
        self.progress("")

    def text(self, line: str) -> None:
        """Print one line on stdout, whatever it holds. Raises OutputLost."""
        self._write(STDOUT, (escaped_line(line) + "\n").encode(errors="backslashreplace"))

    def plain(self, line: bytes) -> None:
        """Print one line of JSON in ASCII on stdout. Raises OutputLost."""
        self._write(STDOUT, line + b"\n")

    def say(self, *lines: str) -> None:
        """Tell a person something on stderr."""
        text = "".join(escaped_line(line) + "\n" for line in lines)
        self._write(STDERR, text.encode(errors="backslashreplace"))

    def notice(self, line: str) -> None:
        """Tell a person who watches how things go; nobody else."""
        if self.shows_progress:
            self.say(line)

    def progress(self, text: str) -> None:
        """Replace the progress line; an empty text takes it away."""
        if not self.shows_progress or text == self._progress:
            return
        self._put(STDERR, self._line(text))
        self._progress = text

    def _write_lines(self, host: str, stream: str, lines: Iterable[bytes]) -> None:
        head = f"{escaped_line(host)}: "
        if self._escaped[stream]:
            texts = [Escaper().feed(line.removesuffix(b"\r"), last=True) for line in lines]
            shown = "".join(f"{head}{text}\n" for text in texts).encode()
        else:
            shown = b"".join(head.encode() + line + b"\n" for line in lines)
        self._write(stream, shown)

    def _write(self, stream: str, data: bytes) -> None:
        if not data:
            return
        if not self._progress:
            self._put(stream, data)
            return
        self._put(STDERR, self._line(""))
        self._put(stream, data)
        self._put(STDERR, self._line(self._progress))

    def _line(self, text: str) -> bytes:
        return f"\r\x1b[K{escaped_line(text)[: _width(self._descriptors[STDERR]) - 1]}".encode()

    def _put(self, stream: str, data: bytes) -> None:
        try:
            if self._descriptors[stream] in self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # noqa: TRY301 - as writing to it would
            _write_all(self._descriptors[stream], data)
        except OSError as error:
            if stream == STDERR:
                return  # whoever closed it does not want to know
            raise OutputLost(error) from None


def _closed_streams() -> frozenset[int]:
    """Return which standard streams were closed from the start. A connection may get such a number: never write to it."""
    closed = set()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(descriptor)
    return frozenset(closed)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # whoever shares the pipe has made it non-blocking
            select.select([], [descriptor], [])


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _width(descriptor: int) -> int:
    try:
        return os.get_terminal_size(descriptor).columns or _NARROW
    except OSError:
        return _NARROW
