"""Host and command selectors: a name, a group, a map of labels, a list of these, or `*`.

A selector is resolved once, when the policy loads. A name that nothing bears is an error, so a typing error can neither
widen a grant nor empty a deny.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cmdhttp.policy import source
from cmdhttp.policy.compiled import EVERYTHING, Host
from cmdhttp.policy.findings import Finding, suggestion
from cmdhttp.policy.model import Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNames:
    """What host selectors may name. `found` collects what is wrong."""

    hosts: Mapping[str, Host]
    groups: Mapping[str, frozenset[str]]
    found: list[Finding]

    def resolve(self, node: source.Node | None, *, everything: frozenset[str]) -> frozenset[str]:
        """Return the hosts that a selector means; `everything` is what `*` means here, and what no selector means."""
        match node:
            case None:
                return everything
            case source.Scalar(text=text) if text == EVERYTHING:
                return everything
            case source.Scalar():
                return self._named(node)
            case source.Sequence(items=items):
                return frozenset().union(*(self.resolve(item, everything=everything) for item in items))
            case source.Mapping():
                return self._labelled(node)

    def _named(self, node: source.Scalar) -> frozenset[str]:
        if node.text in self.groups:
            return self.groups[node.text]
        if node.text in self.hosts:
            return frozenset({node.text})
        hint = suggestion(node.text, [*self.hosts, *self.groups])
        self.found.append(
            Finding(code="P205", message=f"there is no host or group '{node.text}'", at=node.at, hint=hint)
        )
        return frozenset()

    def _labelled(self, node: source.Mapping) -> frozenset[str]:
        wanted: dict[str, frozenset[str]] = {}
        known = {label for host in self.hosts.values() for label in host.labels}
        for key, value in node.entries:
            values = tuple(self._label_values(value))
            wanted[key.text] = frozenset(item.text for item in values)
            if key.text not in known:
                hint = suggestion(key.text, known)
                message = f"no host has the label '{key.text}'"
                self.found.append(Finding(code="P205", message=message, at=key.at, hint=hint))
        if not wanted:
            self.found.append(Finding(code="P206", message="an empty label map selects nothing", at=node.at))
            return frozenset()
        return frozenset(name for name, host in self.hosts.items() if matches(host.labels, wanted))

    def _label_values(self, node: source.Node) -> Iterator[source.Scalar]:
        match node:
            case source.Scalar():
                yield node
            case source.Sequence(items=items) if items and all(isinstance(item, source.Scalar) for item in items):
                yield from (item for item in items if isinstance(item, source.Scalar))
            case _:
                message = "a label's value must be text, or a list of texts"
                self.found.append(Finding(code="P206", message=message, at=node.at))


def matches(labels: Mapping[str, str], wanted: Mapping[str, frozenset[str]]) -> bool:
    """All keys, any value."""
    return all(labels.get(key) in values for key, values in wanted.items())


def command_atoms(
    node: source.Node | None, *, commands: Iterable[str], tags: Iterable[str], found: list[Finding]
) -> frozenset[str]:
    """Return the atoms under which a rule with this command selector stands."""
    match node:
        case None:
            return frozenset({EVERYTHING})
        case source.Scalar(text=text) if text == EVERYTHING:
            return frozenset({EVERYTHING})
        case source.Scalar(text=text):
            if text not in set(commands):
                hint = suggestion(text, commands)
                found.append(Finding(code="P205", message=f"there is no command '{text}'", at=node.at, hint=hint))
            return frozenset({f"name:{text}"})
        case source.Sequence(items=items):
            return frozenset().union(
                *(command_atoms(item, commands=commands, tags=tags, found=found) for item in items)
            )
        case source.Mapping():
            return _class_atom(node, tags=tags, found=found)


def _class_atom(node: source.Mapping, *, tags: Iterable[str], found: list[Finding]) -> frozenset[str]:
    if len(node.entries) == 1:
        key, value = node.entries[0]
        if isinstance(value, source.Scalar) and key.text == "effect" and value.text in list(Effect):
            return frozenset({f"effect:{value.text}"})
        if isinstance(value, source.Scalar) and key.text == "tag":
            if value.text not in set(tags):
                hint = suggestion(value.text, tags)
                found.append(
                    Finding(code="P205", message=f"no command has the tag '{value.text}'", at=value.at, hint=hint)
                )
            return frozenset({f"tag:{value.text}"})
    message = "a command selector is a name, {effect: read|change|destroy}, {tag: NAME}, a list of these, or '*'"
    found.append(Finding(code="P206", message=message, at=node.at))
    return frozenset()
