"""Ctrl-C and SIGTERM while a job is followed.

The first cancels the job if that is wanted, and the following goes on until the job has ended, so that what is said of the
end is true. It is sent from a thread of its own: nothing that the reader of the output does can hold it up. The second leaves
at once. Where there is nothing to cancel, the first leaves.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_MOMENT = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Left(KeyboardInterrupt):
    """The person does not want to wait for the end."""


Cancel = Callable[[str, Callable[[], None]], None]
"""Cancels the job of an id, and calls what it is given once the request has left."""


class Interrupts:
    """`job_id` and `uncertain` tell of the call at the moment of asking; `cancel` is None if leaving is all that is wanted."""

    def __init__(
        self,
        *,
        job_id: Callable[[], str],
        uncertain: Callable[[], bool],
        cancel: "Cancel | None",
        say: Callable[[str], None],
    ) -> None:
        self._job_id = job_id
        self._uncertain = uncertain
        self._cancel = cancel
        self._say = say
        self._count = 0
        self._asked = False
        self._left = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def told(self) -> bool:
        """Whether the service has been told to cancel; a request that is just about to leave gets a moment to."""
        return self._asked and self._left.wait(_MOMENT)

    def accepted(self) -> None:
        """Say that the job is known now: an interrupt that came before is worked off."""
        if self._count and self._cancel is not None:
            self._start_cancel(self._cancel)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1 or self._cancel is None:
            raise Left
        if self._job_id():
            self._start_cancel(self._cancel)  # before the word: whoever reads it may interrupt again at once
            self._say("canceling; again to leave without waiting")
        elif self._uncertain():
            self._say("it is not known yet whether the job was accepted; if it was, it is canceled; again to leave")
        else:
            raise Left

    def _start_cancel(self, cancel: Cancel) -> None:
        if not self._asked:
            self._asked = True
            threading.Thread(target=cancel, args=(self._job_id(), self._left.set), daemon=True).start()
