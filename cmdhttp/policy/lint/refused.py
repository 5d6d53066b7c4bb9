"""Values that a deny refuses always, to everybody, on every host of the command.

Only a deny that looks at this one parameter counts. One with a window, for some principals or for some hosts leaves a
way, and so protects from nothing that lint would warn of.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cmdhttp.policy.compiled import Command, Policy, lookup
from cmdhttp.policy.params import ListParam, Narrowing


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What the denies of a policy leave nobody of one command's values."""

    policy: Policy
    command: Command

    def meets(self, name: str, text: str) -> bool:
        """Whether such a deny refuses this text, which the parameter takes, or takes as an item."""
        return any(_touches(narrowing, text) for narrowing in self._narrowings(name))

    def _narrowings(self, name: str) -> Iterator[Narrowing]:
        for deny in lookup(self.policy.denies, self.command):
            always = deny.since is None and deny.until is None and deny.principals is None
            if always and set(deny.narrowings) == {name} and self.command.hosts <= deny.hosts:
                yield deny.narrowings[name]


def _touches(narrowing: Narrowing, text: str) -> bool:
    """Of a list only what the deny says of each item counts: the caller decides how many items there are."""
    if isinstance(narrowing.spec, ListParam):
        return narrowing.within is None and narrowing.each is not None and _touches(narrowing.each, text)
    return narrowing.touches(narrowing.spec.normalise(text))
