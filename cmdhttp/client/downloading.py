"""Kept bytes of a job, each exactly once: a download that goes on at the next byte after a cut.

`Range` names the first byte that is missing. A body that says how long it is must be as long; one that follows a job, and one
whose end nothing tells, is over only when the job has ended and says that there is no more.
"""

from collections.abc import Callable, Iterator, Mapping

from cmdhttp.client.exchange import BYTES, Caller, Cut, Request, Silent
from cmdhttp.client.failures import CallFailed, Refused, Unreachable
from cmdhttp.client.patience import Patience

_PARTIAL = 206
_NO_SUCH_RANGE = 416
_SILENCE = 70.0

TERMINAL = frozenset({"succeeded", "failed", "timed_out", "canceled", "lost"})
"""The states that a job does not leave."""


def kept_bytes(
    caller: Caller, *, path: str, query: Mapping[str, str], size: int | None, patience: Patience
) -> Iterator[bytes]:
    """Yield the bytes at a path that does not change any more; `size` in all, if it is known. Raises CallFailed."""
    got = 0
    while size is None or got < size:
        try:
            for piece in _from(caller, path=path, query=query, start=got, silence=_SILENCE):
                yield piece
                got += len(piece)
                patience.progress()
            if size is None or got == size:
                return
            raise Cut(f"{size - got} of {size} bytes are missing")
        except Refused as refused:
            if refused.problem.status == _NO_SUCH_RANGE and got and size is None:
                return
            patience.bear(refused)
        except CallFailed as failure:
            patience.bear(failure)


def followed_bytes(
    caller: Caller, *, path: str, query: Mapping[str, str], size_at_end: Callable[[], int | None], patience: Patience
) -> Iterator[bytes]:
    """Yield the bytes of a stream until its job has ended. `size_at_end` is None while it has not. Raises CallFailed."""
    got = 0
    query = {**query, "follow": "1"}
    while True:
        try:
            for piece in _from(caller, path=path, query=query, start=got, silence=_SILENCE):
                yield piece
                got += len(piece)
                patience.progress()
            if (size := size_at_end()) is not None and got >= size:
                return
            raise Cut("the stream ended before the job")
        except Silent:
            size_at_end()  # raw output has no heartbeats, so silence says nothing; if this answers, all is well
            patience.progress()
        except CallFailed as failure:
            patience.bear(failure)


def _from(caller: Caller, *, path: str, query: Mapping[str, str], start: int, silence: float) -> Iterator[bytes]:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = Request(path=path, query=query, accept=BYTES, headers=headers, silence=silence)
    with caller.open(request) as answer:
        if start and "follow" not in query and answer.status != _PARTIAL:
            raise Unreachable("the service did not go on at the byte that was asked for")
        while piece := answer.some():
            yield piece
