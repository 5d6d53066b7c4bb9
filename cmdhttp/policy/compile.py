"""Definitions become indexes. Every name is resolved and every pattern compiled here, once; what is left cannot fail.

`*` means every host, `local` included, in a role line and in a deny; in a command's `on` it means every host of the `hosts`
sections, and `local` must be named.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeVar

from cmdhttp.auth.tokens import TokenRecord
from cmdhttp.policy import source, template
from cmdhttp.policy.compiled import (
    EVERYTHING,
    LOCAL,
    Command,
    Deny,
    Grants,
    Host,
    Line,
    Policy,
    Profile,
    Script,
    Stdin,
)
from cmdhttp.policy.findings import Finding, PolicyError, Position, suggestion
from cmdhttp.policy.merge import Defined, Merged
from cmdhttp.policy.model import CommandSpec, DenySpec, HostSpec, PrincipalSpec, RoleLine
from cmdhttp.policy.params import Narrowing, ParamSpec
from cmdhttp.policy.selectors import HostNames, command_atoms

Rule = TypeVar("Rule")

INTERPRETERS: Mapping[str, tuple[str, ...]] = {
    "sh": ("/bin/sh",),
    "bash": ("/bin/bash",),
    "python": ("/usr/bin/env", "python3", "-I"),
}
_ROLE = "role:"
_MAX_SCRIPT = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where references lead: key files in `secrets`, known_hosts and script files in `policies`."""

    policies: Path
    secrets: Path


def compile_policy(merged: Merged, *, folders: Folders, digest: str) -> Policy:
    """Resolve everything. Raises PolicyError with all that does not fit together."""
    compiler = _Compiler(merged=merged, folders=folders)
    policy = compiler.policy(digest)
    if compiler.found:
        raise PolicyError(compiler.found)
    return policy


@dataclass
class _Compiler:
    merged: Merged
    folders: Folders
    found: list[Finding] = field(default_factory=list)

    def policy(self, digest: str) -> Policy:
        hosts = self._hosts()
        places = self._groups(hosts)
        commands = {name: self._command(name, defined, places) for name, defined in self.merged.commands.items()}
        roles = {name: self._role(name, defined, commands, places) for name, defined in self.merged.roles.items()}
        tokens = self._tokens()
        scripts = "".join(sorted(command.script.sha256 for command in commands.values() if command.script))
        return Policy(
            digest="sha256:" + hashlib.sha256((digest + scripts).encode()).hexdigest(),
            commands=commands,
            hosts=hosts,
            groups=places.groups,
            principals=self._principals(roles),
            denies=_by_atom(self._denies(commands, places)),
            tokens=tokens,
        )

    def _say(self, code: str, message: str, at: Position, hint: str = "") -> None:
        self.found.append(Finding(code=code, message=message, at=at, hint=hint))

    # -- hosts

    def _hosts(self) -> dict[str, Host]:
        hosts = {LOCAL: Host(name=LOCAL)}
        for name, defined in self.merged.hosts.items():
            if name in (LOCAL, EVERYTHING):
                self._say("P207", f"'{name}' is this machine and cannot be defined", defined.at, "choose another name")
            hosts[name] = self._host(name, defined)
        return hosts

    def _host(self, name: str, defined: Defined[HostSpec]) -> Host:
        spec = defined.spec
        profile = self.merged.ssh_profiles.get(spec.ssh)
        if profile is None:
            hint = suggestion(spec.ssh, self.merged.ssh_profiles)
            self._say("P205", f"there is no ssh profile '{spec.ssh}'", defined.where("ssh"), hint)
            return Host(name=name)
        login = profile.spec
        return Host(
            name=name,
            address=spec.address,
            port=spec.port or login.port,
            profile=Profile(
                account=login.user,
                key=str(self.folders.secrets.absolute() / login.auth.key.removeprefix("file:")),
                known_hosts=str(self.folders.policies.absolute() / login.host_keys.known_hosts),
                shell=login.shell,
            ),
            labels=spec.labels,
        )

    def _groups(self, hosts: Mapping[str, Host]) -> HostNames:
        plain = HostNames(hosts=hosts, groups={}, found=self.found)
        remote = frozenset(hosts) - {LOCAL}
        groups: dict[str, frozenset[str]] = {}
        for name, defined in self.merged.groups.items():
            if name in hosts:
                self._say("P207", f"'{name}' is a host and a group", defined.at, "rename one of them")
            groups[name] = plain.resolve(defined.node, everything=remote)
        return HostNames(hosts=hosts, groups=groups, found=self.found)

    # -- commands

    def _command(self, name: str, defined: Defined[CommandSpec], places: HostNames) -> Command:
        spec = defined.spec
        hosts = places.resolve(_child(defined.node, "on"), everything=frozenset(places.hosts) - {LOCAL})
        if spec.account is not None and LOCAL in hosts:
            message = (
                f"'as: {spec.account}' cannot be kept on local: this version runs local commands as its own account"
            )
            self._say("P208", message, defined.where("as"), "leave out 'as', or take 'local' out of 'on'")
        return Command(
            name=name,
            summary=spec.summary,
            description=spec.description,
            effect=spec.effect,
            tags=tuple(spec.tags),
            template=self._template(defined),
            script=self._script(defined),
            params=spec.params,
            hosts=hosts,
            account=spec.account,
            timeout=spec.timeout,
            output_limit=spec.output.max,
            stdin=Stdin(max_bytes=spec.stdin.max, secret=spec.stdin.type == "secret") if spec.stdin else None,
            env=spec.env,
            success_codes=frozenset(spec.success_codes),
            reason_required=spec.reason == "required",
            max_parallel=spec.max_parallel,
            atoms=(f"name:{name}", f"effect:{spec.effect}", *(f"tag:{tag}" for tag in spec.tags), EVERYTHING),
            at=defined.at,
        )

    def _template(self, defined: Defined[CommandSpec]) -> template.Template:
        spec = defined.spec
        ways = [key for key in ("run", "script", "script_file") if getattr(spec, key) is not None]
        if len(ways) != 1:
            self._say(
                "P209",
                f"give exactly one of run, script and script_file (given: {', '.join(ways) or 'none'})",
                defined.at,
            )
        key = "run" if spec.run is not None else "args"
        parsed, errors = template.parse(spec.run if spec.run is not None else spec.args, spec.params)
        for name, param in spec.params.items():
            if param.secret or param.staged:
                message = f"'{name}': parameters of type {param.type} cannot be handed to a process by this version"
                self._say("P216", message, defined.where("params", name), "take the value by stdin")
        for error in errors:
            hint = error.hint or suggestion(error.name, spec.params)
            self._say("P210", error.message, defined.where(key, error.index), hint)
        if spec.run is not None:
            self._check_program(parsed, defined)
        return parsed

    def _check_program(self, parsed: template.Template, defined: Defined[CommandSpec]) -> None:
        program = parsed[0]
        path = program.constant if isinstance(program, template.Argument) else None
        at = defined.where("run", 0)
        if path is None:
            self._say("P302", "the program may not depend on a parameter", at, "write one command for each program")
        elif not path.startswith("/"):
            self._say(
                "P301",
                f"the program '{path}' is not an absolute path",
                at,
                f"write the whole path, like /usr/bin/{path}",
            )
        for key in ("args", "interpreter"):
            if getattr(defined.spec, key):
                self._say("P209", f"'{key}' goes with a script, and this command has 'run'", defined.where(key))

    def _script(self, defined: Defined[CommandSpec]) -> Script | None:
        spec = defined.spec
        if spec.script is None and spec.script_file is None:
            return None
        interpreter = INTERPRETERS.get(spec.interpreter or "")
        if interpreter is None:
            at = defined.where("interpreter") if spec.interpreter else defined.at
            self._say("P211", "a script needs a known interpreter", at, f"one of: {', '.join(INTERPRETERS)}")
        text = spec.script if spec.script is not None else self._script_text(defined)
        return Script(interpreter=interpreter or (), text=text, sha256=hashlib.sha256(text.encode()).hexdigest())

    def _script_text(self, defined: Defined[CommandSpec]) -> str:
        path = self.folders.policies / str(defined.spec.script_file)
        at = defined.where("script_file")
        try:
            if not path.resolve().is_relative_to(self.folders.policies.resolve()):
                self._say("P212", "the script file is outside the policy folder", at)
                return ""
            with path.open("rb") as file:
                data = file.read(_MAX_SCRIPT + 1)
            if len(data) > _MAX_SCRIPT:
                self._say("P212", f"the script file is over {_MAX_SCRIPT} bytes", at)
            return data.decode()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._say("P212", f"the script file cannot be read: {reason}", at, "the path counts from the policy folder")
            return ""

    # -- access

    def _tokens(self) -> dict[str, TokenRecord]:
        tokens: dict[str, TokenRecord] = {}
        first: dict[str, Position] = {}
        for name, defined in self.merged.principals.items():
            sources = self._sources(defined)
            for index, spec in enumerate(defined.spec.tokens):
                at = defined.where("tokens", index)
                if spec.id in tokens:
                    self._say("P214", f"the token id '{spec.id}' is used twice (first at {first[spec.id]})", at)
                first.setdefault(spec.id, at)
                tokens[spec.id] = TokenRecord(
                    id=spec.id,
                    principal=name,
                    sha256=bytes.fromhex(spec.sha256),
                    expires=spec.expires.timestamp() if spec.expires else None,
                    sources=sources,
                )
        return tokens

    def _sources(self, defined: Defined[PrincipalSpec]) -> tuple[IPv4Network | IPv6Network, ...]:
        networks = []
        for index, text in enumerate(defined.spec.sources or ()):
            try:
                networks.append(ip_network(text))
            except ValueError:
                message = f"'{text}' is not a network, like 198.51.100.0/24"
                self._say("P201", message, defined.where("from", index), "the host bits must be zero")
        return tuple(networks)

    def _role(
        self, name: str, defined: Defined[list[RoleLine]], commands: Mapping[str, Command], places: HostNames
    ) -> list[tuple[frozenset[str], Line]]:
        lines = []
        for index, spec in enumerate(defined.spec):
            node = _child(defined.node, index)
            at = defined.where(index)
            atoms = self._atoms(_child(node, "commands"), commands)
            hosts = places.resolve(_child(node, "hosts"), everything=frozenset(places.hosts))
            narrowings = self._narrowings(spec.params, _child(node, "params"), atoms, commands)
            lines.append((atoms, Line(role=name, hosts=hosts, narrowings=narrowings, at=at)))
        return lines

    def _denies(self, commands: Mapping[str, Command], places: HostNames) -> list[tuple[frozenset[str], Deny]]:
        denies = []
        for defined in self.merged.deny:
            spec = defined.spec
            atoms = self._atoms(_child(defined.node, "commands"), commands)
            deny = Deny(
                why=spec.why,
                principals=self._denied(defined),
                hosts=places.resolve(_child(defined.node, "hosts"), everything=frozenset(places.hosts)),
                narrowings=self._narrowings(spec.params, _child(defined.node, "params"), atoms, commands),
                since=spec.since,
                until=spec.until,
                at=defined.at,
            )
            if spec.since and spec.until and spec.since >= spec.until:
                self._say("P215", "'until' is not after 'from', so this deny never matches", defined.at)
            denies.append((atoms, deny))
        return denies

    def _denied(self, defined: Defined[DenySpec]) -> frozenset[str] | None:
        if EVERYTHING in defined.spec.to:
            return None
        names: set[str] = set()
        for index, name in enumerate(defined.spec.to):
            if name.startswith(_ROLE):
                names |= self._holders(name.removeprefix(_ROLE), defined.where("to", index))
            else:
                self._check_known(name, self.merged.principals, "principal", defined.where("to", index))
                names.add(name)
        return frozenset(names)

    def _holders(self, role: str, at: Position) -> set[str]:
        self._check_known(role, self.merged.roles, "role", at)
        return {name for grant in self.merged.grants if role in grant.spec.roles for name in grant.spec.to}

    def _principals(self, roles: Mapping[str, list[tuple[frozenset[str], Line]]]) -> dict[str, Grants]:
        held: dict[str, dict[str, None]] = {name: {} for name in self.merged.principals}
        for grant in self.merged.grants:
            for index, role in enumerate(grant.spec.roles):
                self._check_known(role, roles, "role", grant.where("roles", index))
            for index, name in enumerate(grant.spec.to):
                self._check_known(name, held, "principal", grant.where("to", index))
                held.setdefault(name, {}).update(dict.fromkeys(grant.spec.roles))
        return {
            name: Grants(
                roles=tuple(sorted(names)),
                lines=_by_atom(entry for role in names for entry in roles.get(role, ())),
            )
            for name, names in held.items()
        }

    # -- shared

    def _check_known(self, name: str, known: Iterable[str], kind: str, at: Position) -> None:
        names = list(known)
        if name not in names:
            self._say("P205", f"there is no {kind} '{name}'", at, suggestion(name, names))

    def _atoms(self, node: source.Node | None, commands: Mapping[str, Command]) -> frozenset[str]:
        tags = {tag for command in commands.values() for tag in command.tags}
        return command_atoms(node, commands=commands, tags=tags, found=self.found)

    def _narrowings(
        self,
        wanted: Mapping[str, object],
        node: source.Node | None,
        atoms: frozenset[str],
        commands: Mapping[str, Command],
    ) -> dict[str, Narrowing]:
        """Compile each narrowed parameter against the commands that the rule takes in; all must declare it alike."""
        taken = [command for command in commands.values() if not atoms.isdisjoint(command.atoms)]
        narrowings: dict[str, Narrowing] = {}
        for name, by in wanted.items():
            at = source.locate(node, (name,)) if node else Position(file="")
            specs = [command.params.get(name) for command in taken]
            for command, spec in zip(taken, specs, strict=True):
                if spec is None:
                    hint = suggestion(name, command.params)
                    self._say("P213", f"the command '{command.name}' has no parameter '{name}'", at, hint)
            narrowing = self._narrowing(name, by, [spec for spec in specs if spec is not None], at)
            if narrowing is not None:
                narrowings[name] = narrowing
        return narrowings

    def _narrowing(self, name: str, by: object, specs: list[ParamSpec], at: Position) -> Narrowing | None:
        if any((spec.type, spec.constraints()) != (specs[0].type, specs[0].constraints()) for spec in specs):
            message = f"the commands of this line declare '{name}' differently"
            self._say("P213", message, at, "write one line for each of these commands")
        try:
            return specs[0].narrowed(by) if specs else None
        except ValueError as error:
            self._say("P213", f"'{name}' cannot be narrowed so: {error}", at)
            return None


def _child(node: source.Node | None, key: str | int) -> source.Node | None:
    if isinstance(node, source.Mapping) and isinstance(key, str):
        return node.get(key)
    if isinstance(node, source.Sequence) and isinstance(key, int):
        return node.items[key]
    return None


def _by_atom(entries: Iterable[tuple[frozenset[str], Rule]]) -> dict[str, tuple[Rule, ...]]:
    table: dict[str, list[Rule]] = {}
    for atoms, rule in entries:
        for atom in atoms:
            table.setdefault(atom, []).append(rule)
    return {atom: tuple(rules) for atom, rules in table.items()}
