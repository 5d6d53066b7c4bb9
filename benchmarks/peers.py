"""The same rules for other engines, each written in the way that suits it best.

`make bench` installs them; where one is missing, it is left out and a note says so.
"""

import importlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from benchmarks.measure import Work
from benchmarks.rules import Rules

_CASBIN = """
[request_definition]
r = sub, obj, act, unit
[policy_definition]
p = sub, obj, act, unit, eft
[role_definition]
g = _, _
g2 = _, _
g3 = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && g2(r.obj, p.obj) && g3(r.act, p.act) && (p.unit == "*" || r.unit == p.unit)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question: who runs what where, with this unit."""

    principal: str
    command: str
    host: str
    unit: str


class Peer(Protocol):
    """An engine with the same rules. `note` says how it is used and what it does not do."""

    module: ClassVar[str]
    verb: ClassVar[str]
    note: ClassVar[str]

    def __init__(self, rules: Rules) -> None: ...

    def allows(self, call: Call) -> bool: ...

    def asker(self, call: Call) -> Work:
        """The call, made ready: asking is all that is then measured."""


class Casbin:
    """pycasbin's `Enforcer`: roles, host groups and command groups by role definitions, one row a role line or deny."""

    module: ClassVar = "casbin"
    verb: ClassVar = "enforce"
    note: ClassVar = (
        "casbin looks at every row for each question; no types of values, no time windows, no reason. Its FastEnforcer"
        " looks rows up, but only by exact keys, so every right would have to be written out."
    )

    def __init__(self, rules: Rules) -> None:
        casbin = importlib.import_module("casbin")
        model = casbin.Model()
        model.load_model_from_text(_CASBIN)
        self._engine = casbin.Enforcer(model)
        self._engine.add_policies(self._rows(rules))
        self._engine.add_grouping_policies([[name, role] for name, held in rules.granted() for role in held])
        self._engine.add_named_grouping_policies("g2", _host_groups(rules))
        self._engine.add_named_grouping_policies("g3", _command_groups(rules))

    def _rows(self, rules: Rules) -> list[list[str]]:
        lines = [[line.role, line.kind, line.name, line.unit or "*", "allow"] for line in rules.lines()]
        return lines + [
            [str(deny.role), deny.environment, deny.effect, "*", "deny"] for deny in rules.all_denies() if deny.in_force
        ]

    def allows(self, call: Call) -> bool:
        return bool(self._engine.enforce(call.principal, call.host, call.command, call.unit))

    def asker(self, call: Call) -> Work:
        engine, row = self._engine, (call.principal, call.host, call.command, call.unit)
        return lambda: engine.enforce(*row)


class Cedar:
    """Cedar in Rust, by `cedarpy`: policies and entities are parsed once and handed over as handles."""

    module: ClassVar = "cedarpy"
    verb: ClassVar = "is_authorized"
    note: ClassVar = (
        "cedarpy is Rust behind one call; it says which policies decided. Values are of a schema's few types, or of none; no"
        " normal form of a value. A time would have to come with the question."
    )

    def __init__(self, rules: Rules) -> None:
        self._cedar = importlib.import_module("cedarpy")
        self._policies = self._cedar.PolicySet.from_str("\n".join(self._texts(rules)))
        self._entities = self._cedar.Entities.from_json_str(json.dumps(self._parents(rules)))

    def _texts(self, rules: Rules) -> list[str]:
        lines = [
            f'permit(principal in Role::"{line.role}", action in Action::"{line.name}", resource in Group::"{line.kind}")'
            + (f' when {{ context.unit == "{line.unit}" }};' if line.unit else ";")
            for line in rules.lines()
        ]
        return lines + [
            f'forbid(principal in Role::"{deny.role}", action in Action::"{deny.effect}",'
            f' resource in Group::"{deny.environment}");'
            for deny in rules.all_denies()
            if deny.in_force
        ]

    def _parents(self, rules: Rules) -> list[dict[str, Any]]:
        found: dict[tuple[str, str], list[dict[str, str]]] = {}
        for name, held in rules.granted():
            found["User", name] = [{"type": "Role", "id": role} for role in held]
        for host, group in _host_groups(rules):
            found.setdefault(("Host", host), []).append({"type": "Group", "id": group})
        for command, group in _command_groups(rules):
            found.setdefault(("Action", command), []).append({"type": "Action", "id": group})
        return [
            {"uid": {"type": kind, "id": name}, "attrs": {}, "parents": parents}
            for (kind, name), parents in found.items()
        ]

    def _request(self, call: Call) -> dict[str, Any]:
        return {
            "principal": {"type": "User", "id": call.principal},
            "action": {"type": "Action", "id": call.command},
            "resource": {"type": "Host", "id": call.host},
            "context": {"unit": call.unit},
        }

    def allows(self, call: Call) -> bool:
        answer = self._cedar.is_authorized(self._request(call), self._policies, self._entities)
        return bool(answer.allowed)

    def asker(self, call: Call) -> Work:
        ask, request, policies, entities = (
            self._cedar.is_authorized,
            self._request(call),
            self._policies,
            self._entities,
        )
        return lambda: ask(request, policies, entities)


def _host_groups(rules: Rules) -> list[list[str]]:
    return [[host.name, group] for host in rules.all_hosts() for group in (host.kind, host.environment)]


def _command_groups(rules: Rules) -> list[list[str]]:
    """Each command in its effect and in every line that names it."""
    effects = [[command.name, command.effect] for command in rules.all_commands()]
    return effects + [[command.name, line.name] for line in rules.lines() for command in line.commands]


PEERS: tuple[type[Peer], ...] = (Casbin, Cedar)
