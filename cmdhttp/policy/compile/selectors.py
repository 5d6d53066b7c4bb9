"""Host and command selectors: a name, a group, a map of labels, a list of these, or `*`.

A selector is resolved once, when the policy loads. A name that nothing bears is an error, so a typing error can neither
widen a grant nor empty a deny.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from cmdhttp.policy import source
from cmdhttp.policy.compile.report import Report
from cmdhttp.policy.compiled import EVERYTHING, LOCAL, Command, Host
from cmdhttp.policy.model import Effect
from cmdhttp.policy.shells import POSIX

_NOWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNames:
    """What host selectors may name. `*` is `everything`, unless the place says otherwise; `remote` is all but `local`.

    `labels` holds the hosts by label and value.
    """

    hosts: Mapping[str, Host]
    groups: Mapping[str, frozenset[str]]
    report: Report
    everything: frozenset[str]
    remote: frozenset[str]
    labels: Mapping[str, Mapping[str, frozenset[str]]]

    @classmethod
    def of(cls, hosts: Mapping[str, Host], groups: Mapping[str, frozenset[str]], report: Report) -> "HostNames":
        everything = frozenset(hosts)
        return cls(
            hosts=hosts,
            groups=groups,
            report=report,
            everything=everything,
            remote=everything - {LOCAL},
            labels=_by_label(hosts.values()),
        )

    def shell(self, host: str) -> str:
        """Return the family of the host's login shell; this machine has what a Unix host has."""
        profile = self.hosts[host].profile
        return profile.shell if profile else POSIX

    def resolve(self, node: source.Node | None, *, everything: frozenset[str] | None = None) -> frozenset[str]:
        """Return the hosts that a selector means; no selector means `everything`, as `*` does."""
        star = self.everything if everything is None else everything
        match node:
            case None:
                return star
            case source.Scalar(text=text) if text == EVERYTHING:
                return star
            case source.Scalar():
                return self._named(node)
            case source.Sequence(items=items):
                if not items:
                    self.report.say("P206", "an empty list of hosts selects nothing", node.at, "name a host, or '*'")
                return frozenset().union(*(self.resolve(item, everything=star) for item in items))
            case source.Mapping():
                return self._labelled(node)
            case _:
                assert_never(node)

    def _named(self, node: source.Scalar) -> frozenset[str]:
        if node.text in self.groups:
            return self.groups[node.text]
        if node.text in self.hosts:
            return frozenset({node.text})
        if "," in node.text:
            self.report.say("P205", f"there is no host or group '{node.text}'", node.at, f"write [{node.text}]")
        elif not self.report.is_broken("hosts", node.text):
            self.report.unknown("host or group", node.text, node.at, [*self.hosts, *self.groups])
        return frozenset()

    def _labelled(self, node: source.Mapping) -> frozenset[str]:
        """All keys, any value."""
        for key, _ in node.entries:
            if key.text not in self.labels and not self.report.merged.broken["hosts"]:
                self.report.missing(f"no host has the label '{key.text}'", key.text, key.at, self.labels)
        if not node.entries:
            self.report.say("P206", "an empty label map selects nothing", node.at)
            return frozenset()
        first, *rest = [self._with_label(key.text, value) for key, value in node.entries]
        return first.intersection(*rest)

    def _with_label(self, label: str, node: source.Node) -> frozenset[str]:
        known = self.labels.get(label, {})
        values = list(self._label_values(node))
        for item in values:
            if known and item.text not in known:
                self.report.doubt(f"no host has {label}: {item.text}", item.text, item.at, known)
        first, *rest = [known.get(item.text, _NOWHERE) for item in values] or [_NOWHERE]
        return first.union(*rest)

    def _label_values(self, node: source.Node) -> Iterator[source.Scalar]:
        match node:
            case source.Scalar():
                yield node
            case source.Sequence(items=items) if items and all(isinstance(item, source.Scalar) for item in items):
                yield from (item for item in items if isinstance(item, source.Scalar))
            case _:
                self.report.say("P206", "a label's value must be text, or a list of texts", node.at)


def _by_label(hosts: Iterable[Host]) -> dict[str, dict[str, frozenset[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for host in hosts:
        for label, value in host.labels.items():
            found.setdefault(label, {}).setdefault(value, set()).add(host.name)
    return {label: {value: frozenset(names) for value, names in values.items()} for label, values in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandNames:
    """What command selectors may name, and which commands stand under each atom."""

    commands: Mapping[str, Command]
    tags: frozenset[str]
    by_atom: Mapping[str, tuple[Command, ...]]
    report: Report

    @classmethod
    def of(cls, commands: Mapping[str, Command], report: Report) -> "CommandNames":
        by_atom: dict[str, list[Command]] = {}
        for command in commands.values():
            for atom in command.atoms:
                by_atom.setdefault(atom, []).append(command)
        tags = frozenset(tag for command in commands.values() for tag in command.tags)
        frozen = {atom: tuple(members) for atom, members in by_atom.items()}
        return cls(commands=commands, tags=tags, by_atom=frozen, report=report)

    def atoms(self, node: source.Node | None) -> frozenset[str]:
        """Return the atoms under which a rule with this command selector stands."""
        match node:
            case None:
                return frozenset({EVERYTHING})
            case source.Scalar(text=text) if text == EVERYTHING:
                return frozenset({EVERYTHING})
            case source.Scalar(text=text):
                self.report.check_known(text, self.commands, section="commands", kind="command", at=node.at)
                return frozenset({f"name:{text}"})
            case source.Sequence(items=items):
                if not items:
                    message, hint = "an empty list of commands selects nothing", "name a command, or '*'"
                    self.report.say("P206", message, node.at, hint)
                return frozenset().union(*(self.atoms(item) for item in items))
            case source.Mapping():
                return self._class_atom(node)
            case _:
                assert_never(node)

    def taken(self, atoms: frozenset[str]) -> list[Command]:
        """Every command that a rule under these atoms takes in, once."""
        return list(
            {command.name: command for atom in sorted(atoms) for command in self.by_atom.get(atom, ())}.values()
        )

    def _class_atom(self, node: source.Mapping) -> frozenset[str]:
        if len(node.entries) == 1:
            key, value = node.entries[0]
            if isinstance(value, source.Scalar) and key.text == "effect" and value.text in list(Effect):
                return frozenset({f"effect:{value.text}"})
            if isinstance(value, source.Scalar) and key.text == "tag":
                if value.text not in self.tags and not self.report.merged.broken["commands"]:
                    self.report.missing(f"no command has the tag '{value.text}'", value.text, value.at, self.tags)
                return frozenset({f"tag:{value.text}"})
        message = "a command selector is a name, {effect: read|change|destroy}, {tag: NAME}, a list of these, or '*'"
        self.report.say("P206", message, node.at)
        return frozenset()
