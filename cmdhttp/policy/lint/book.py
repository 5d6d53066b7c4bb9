"""What the rules look at: the compiled policy, the definitions with their places, and the moment.

Every rule is a function from a `Book` to findings. It reads, it never changes anything, and where it cannot tell it says
nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cmdhttp.policy.compiled import EVERYTHING, Command, Policy
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.merge import Defined, Merged
from cmdhttp.policy.model import CommandSpec, Effect

CHANGING = (Effect.CHANGE, Effect.DESTROY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A policy that compiled without errors, and what it was compiled from. `changing` names what changes or destroys.

    `as_root`: whether a local command without `as` would run as root.
    """

    policy: Policy
    merged: Merged
    now: datetime
    by_atom: Mapping[str, frozenset[str]]
    changing: frozenset[str]
    as_root: bool = False
    _taken: dict[frozenset[str], frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, policy: Policy, merged: Merged, *, now: datetime, as_root: bool = False) -> "Book":
        by_atom: dict[str, set[str]] = {EVERYTHING: set()}
        for command in policy.commands.values():
            for atom in command.atoms:
                by_atom.setdefault(atom, set()).add(command.name)
        frozen = {atom: frozenset(names) for atom, names in by_atom.items()}
        changing = frozenset(command.name for command in policy.commands.values() if command.effect in CHANGING)
        return cls(policy=policy, merged=merged, now=now, by_atom=frozen, changing=changing, as_root=as_root)

    def taken(self, atoms: frozenset[str]) -> frozenset[str]:
        """The names of the commands that a rule under these atoms takes in."""
        if EVERYTHING in atoms:
            return self.by_atom[EVERYTHING]
        if atoms not in self._taken:
            self._taken[atoms] = frozenset().union(*(self.by_atom.get(atom, frozenset()) for atom in atoms))
        return self._taken[atoms]

    def commands(self) -> Iterator[tuple[Command, Defined[CommandSpec]]]:
        """Every command, compiled and as written."""
        for name, command in self.policy.commands.items():
            yield command, self.merged.commands[name]

    def callers(self, command: Command) -> Iterator[str]:
        """The principals that some role line lets run the command somewhere, with some values."""
        for name in sorted(self.policy.principals):
            if any(not line.hosts.isdisjoint(command.hosts) for line in self.policy.lines_for(name, command)):
                yield name


Rule = Callable[[Book], Iterator[Finding]]
