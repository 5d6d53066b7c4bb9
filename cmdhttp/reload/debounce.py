"""When a source that changes is due for a load. Pure: states and times (monotonic, in seconds) come in.

Due is a state that differs from the loaded one and has stayed the same for `SETTLE`, or a source that has kept changing
for `_PATIENCE`. While loads fail, any state is due every `_RETRY`, because what failed may have lain outside the source.
"""

import math
from dataclasses import dataclass, field

SETTLE = 0.3
_PATIENCE = 10.0
_RETRY = 30.0


@dataclass(slots=True, kw_only=True)
class Debounce:
    """Compares looks at a source. `loaded` is the state that was last loaded, with or without success."""

    loaded: str
    _seen: str = field(init=False)
    _changed: float = field(init=False, default=-math.inf)
    _restless: float | None = field(init=False, default=None)
    _loaded_at: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self._seen = self.loaded

    @property
    def restless(self) -> bool:
        """Whether the source has changed and not come to rest since."""
        return self._restless is not None

    def look(self, state: str, *, now: float, failing: bool) -> bool:
        """Take note of a state; true if it is due. Whoever is told so loads, and calls `load` first."""
        if state != self._seen:
            self._seen, self._changed = state, now
            self._restless = now if self._restless is None else self._restless
        if self._restless is not None:
            if now - self._changed < SETTLE and now - self._restless < _PATIENCE:
                return False
            self._restless = None
        return state != self.loaded or (failing and now - self._loaded_at >= _RETRY)

    def load(self, *, now: float) -> None:
        """The state that was seen last is being loaded, whatever comes of it."""
        self.loaded, self._restless, self._loaded_at = self._seen, None, now
