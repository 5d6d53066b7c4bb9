"""Kept bytes of a job, each exactly once: a download that goes on at the next byte after a cut.

`Range` names the first byte that is missing. A body that says how long it is must be as long.
"""

from collections.abc import Iterator, Mapping

from cmdhttp.client.exchange import BYTES, Caller, Request
from cmdhttp.client.failures import CallFailed, Refused, Unreachable
from cmdhttp.client.patience import Patience

_PARTIAL = 206
_NO_SUCH_RANGE = 416
_SILENCE = 70.0


def kept_bytes(caller: Caller, *, path: str, query: Mapping[str, str], patience: Patience) -> Iterator[bytes]:
    """Yield the bytes at a path as they are kept now. Raises CallFailed."""
    got = 0
    while True:
        try:
            for piece in _from(caller, path=path, query=query, start=got):
                yield piece
                got += len(piece)
                patience.progress()
        except Refused as refused:
            if got and refused.problem.status == _NO_SUCH_RANGE:  # the cut was behind the last byte
                return
            patience.bear(refused)
        except CallFailed as failure:
            patience.bear(failure)
        else:
            return


def _from(caller: Caller, *, path: str, query: Mapping[str, str], start: int) -> Iterator[bytes]:
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = Request(path=path, query=query, accept=BYTES, headers=headers, silence=_SILENCE)
    with caller.open(request) as answer:
        if start and answer.status != _PARTIAL:
            raise Unreachable("the service did not go on at the byte that was asked for")
        while piece := answer.some():
            yield piece
