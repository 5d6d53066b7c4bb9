"""Role lines that do nothing, and role lines that do more than a reader may think.

A line is covered by a wider one of the same role if it could be taken out without changing what the role allows, now and
after commands are added. Lines are compared only where both can apply, a line with at most 50 others of the same commands
and hosts, and values only for lines of at most 20 commands, so a large policy takes no longer than its size.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cmdhttp.policy.compiled import EVERYTHING, Line
from cmdhttp.policy.containment import line_within
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.commands import counts_as
from cmdhttp.policy.params import Narrowing
from cmdhttp.policy.space import space

_COMPARED = 50
_MOST_COMMANDS = 20
_NAME = "name:"


def role_lines(book: Book) -> Iterator[Finding]:
    for role, defined in book.merged.roles.items():
        lines = book.policy.roles[role]
        useful = []
        for line, spec in zip(lines, (spec for spec in defined.spec if spec.jobs is None), strict=True):
            never = never_applies(book, line.atoms, line.hosts, line.narrowings)
            if never:
                hint = "mend the selector, or take the line out"
                yield LintCode.LINE_NEVER.found(f"this line never allows anything: {never}", line.at, hint)
                continue
            useful.append(line)
            yield from _reach(book, line, spec.hosts)
        yield from _shadows(book, useful)


def oversight_lines(book: Book) -> Iterator[Finding]:
    """Lines with `jobs`: those that give nothing, and those that give everything."""
    for role, defined in book.merged.roles.items():
        specs = (spec for spec in defined.spec if spec.jobs is not None)
        for line, spec in zip(book.policy.oversight[role], specs, strict=True):
            nobody = "nobody holds the roles that 'of' names" if line.principals == frozenset() else ""
            never = nobody or never_applies(book, line.atoms, line.hosts, line.narrowings)
            if never:
                hint = "mend the selector, or take the line out"
                yield LintCode.LINE_NEVER.found(f"this line gives no right over any job: {never}", line.at, hint)
            elif line.cancel and line.principals is None and EVERYTHING in line.atoms and _everywhere(spec.hosts):
                message = "this line lets stop every job of everybody, also of commands and hosts added later"
                yield LintCode.STOPS_ALL.found(message, line.at, "name commands, hosts or, with 'of', owners")


def _everywhere(hosts: object) -> bool:
    return EVERYTHING in (hosts if isinstance(hosts, list) else [hosts])


def never_applies(book: Book, atoms: frozenset[str], hosts: frozenset[str], narrowings: Mapping[str, Narrowing]) -> str:
    """Why a rule with these selectors can never match; empty if it can, or if that cannot be told."""
    taken = book.taken(atoms)
    if not taken:
        return "it selects no command"
    if not hosts:
        return "it selects no host"
    commands = book.policy.commands
    if all(commands[name].hosts.isdisjoint(hosts) for name in taken):
        return "its commands are not made for any of its hosts"
    name = next((name for name, narrowing in narrowings.items() if impossible(narrowing)), "")
    return f"no value of '{name}' fits" if name else ""


def impossible(narrowing: Narrowing) -> bool:
    """Whether certainly no value fits: values are listed, and the rest of the narrowing refuses each of them."""
    if narrowing.each is not None:
        return impossible(narrowing.each)
    if narrowing.among is None or narrowing.within is None:
        return False
    left = space([narrowing.spec], (), inside=narrowing)
    return left.whole and not left.values


def _reach(book: Book, line: Line, hosts: object) -> Iterator[Finding]:
    if EVERYTHING in line.atoms:
        message = "this line allows every command, also those added later"
        yield LintCode.EVERY_COMMAND.found(message, line.at, "name commands, tags, or an effect")
    if _everywhere(hosts):
        changing = book.taken(line.atoms) & book.changing
        if changing:
            more = f" and {len(changing) - 1} more" if len(changing) > 1 else ""
            message = f"this line allows '{min(changing)}'{more} on every host, also those added later"
            hint = f"name hosts, groups or labels{counts_as(book.merged.commands[min(changing)])}"
            yield LintCode.EVERY_HOST.found(message, line.at, hint)


# Shadows.


@dataclass(slots=True, kw_only=True)
class _Index:
    """The lines of one role: by an atom and the exact hosts, and the different sets of hosts by each host in them."""

    by_place: dict[tuple[str, frozenset[str]], list[Line]] = field(default_factory=lambda: defaultdict(list))
    sets: dict[str, dict[frozenset[str], None]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, line: Line) -> None:
        for atom in line.atoms:
            self.by_place[atom, line.hosts].append(line)
        if line.hosts not in self.sets[min(line.hosts)]:
            for host in line.hosts:
                self.sets[host][line.hosts] = None

    def wider(self, book: Book, line: Line) -> Iterator[Line]:
        """Lines that may cover this one: on all its hosts, for one of its commands."""
        atoms = _one_of(book, line)
        for hosts in self.sets[min(line.hosts)]:
            if hosts >= line.hosts:
                for atom in atoms:
                    yield from self.by_place.get((atom, hosts), ())[:_COMPARED]


def _shadows(book: Book, lines: list[Line]) -> Iterator[Finding]:
    index = _Index()
    for line in sorted(lines, key=lambda line: (len(line.narrowings), line.at)):
        index.add(line)
    for line in lines:
        by = next((wide for wide in index.wider(book, line) if _shadows_it(book, wide, line)), None)
        if by is not None:
            message = f"the line at {by.at} of the same role allows all that this line allows"
            yield LintCode.SHADOWED.found(message, line.at, "take one of them out, or narrow the wider one")


def _shadows_it(book: Book, wide: Line, line: Line) -> bool:
    """Whether a line on at least the same hosts covers the other; of two that cover each other, the later is too many."""
    if wide is line or not _covers(book, wide, line):
        return False
    return wide.at < line.at or len(wide.hosts) > len(line.hosts) or not _covers(book, line, wide)


def _covers(book: Book, wide: Line, line: Line) -> bool:
    """Whether one line takes in the commands and values of the other, on the same hosts."""
    if not _takes_in(book, wide.atoms, line.atoms):
        return False
    if not wide.narrowings:
        return True
    taken = book.taken(line.atoms)
    params = (book.policy.commands[name].params for name in taken)
    return len(taken) <= _MOST_COMMANDS and all(
        line_within(line, wide, specs=each, outer_specs=each) for each in params
    )


def _takes_in(book: Book, wide: frozenset[str], atoms: frozenset[str]) -> bool:
    """Whether each atom is there, or is the name of a command that another atom takes in."""
    if EVERYTHING in wide:
        return True
    return all(
        atom in wide or (atom.startswith(_NAME) and not wide.isdisjoint(_atoms_of(book, atom))) for atom in atoms
    )


def _one_of(book: Book, line: Line) -> tuple[str, ...]:
    """Every atom under which a line must stand to take in a certain one of this line's atoms."""
    atom = min(line.atoms)
    return _atoms_of(book, atom) if atom.startswith(_NAME) else (atom, EVERYTHING)


def _atoms_of(book: Book, atom: str) -> tuple[str, ...]:
    return book.policy.commands[atom.removeprefix(_NAME)].atoms
