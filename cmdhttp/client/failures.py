"""What can go wrong between a caller and the service, as one tree.

    CallFailed
    ├── Refused       an answer that says no: a problem document, or an error of something in between
    └── Unreachable   no answer, or one that was cut: nobody can tell from it whether the request arrived

A failure never holds the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

_GATEWAY = frozenset({502, 503, 504, *range(520, 531)})
_BUSY = frozenset({429, 503})


class CallFailed(Exception):
    """A call that brought no answer of the kind that was asked for. `retryable`: to send it again is safe and may help."""

    retryable = False
    retry_after: float | None = None


class Unreachable(CallFailed):
    """The network failed, or something that does not speak for the service answered in its place."""

    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An RFC 9457 document, or what stands in for one where something in between has answered."""

    status: int
    document: Document = field(default_factory=dict)
    ours: bool = True

    def text(self, name: str) -> str:
        value = self.document.get(name)
        return value if isinstance(value, str) else ""

    @property
    def faults(self) -> list[Mapping[str, str]]:
        """What is wrong with single fields: `pointer`, `detail` and `hint` of each, as text."""
        found = self.document.get("errors")
        faults = [fault for fault in found if isinstance(fault, dict)] if isinstance(found, list) else []
        return [{key: value for key, value in fault.items() if isinstance(value, str)} for fault in faults]


class Refused(CallFailed):
    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        super().__init__(problem.text("detail") or problem.text("title"))
        self.problem = problem
        self.retry_after = retry_after
        self.retryable = problem.status in (_BUSY if problem.ours else _BUSY | _GATEWAY)

    @property
    def nothing_ran(self) -> bool:
        """Whether it is certain that this request has started nothing. A gateway does not know."""
        return self.problem.ours and self.problem.text("code") != "internal"
