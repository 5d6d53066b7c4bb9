"""Made-up rules of any size, as plain data, and the policy that says them.

Everything follows from the sizes alone, so two runs measure the same thing. The rules say no more than all engines can say:
a role may run some commands on the hosts of the kind that they are made for, perhaps with one value only; a deny takes the
commands of one effect from a role, or from everybody, in one environment.
"""

from collections.abc import Iterator
from dataclasses import dataclass

KINDS = ("web", "db", "cache", "queue", "edge", "mail", "build", "backup", "search", "proxy")
UNITS = ("nginx", "redis", "app-worker")
ENVIRONMENTS = ("staging", "prod")
OUTSIDER = "outsider"
"""A principal whose only role has nothing to do with what is asked."""

_COMMANDS_A_LINE = 10
_LINES_A_ROLE = 2
_A_FILE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    name: str
    kind: str
    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Made for the hosts of one kind; `effect` is read or change."""

    name: str
    kind: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a role may run, on hosts of one kind; `unit` is the only value that it may give, or None for all."""

    name: str
    role: str
    kind: str
    commands: tuple[Command, ...]
    unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """Commands of one effect in one environment; `role` is None for everybody. Some are not in force yet."""

    why: str
    role: str | None
    effect: str
    environment: str
    in_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules of these sizes. Each grant gives one principal two roles; each role has two lines."""

    hosts: int
    commands: int
    roles: int
    grants: int
    denies: int
    tests: int

    def host(self, number: int) -> Host:
        """Hosts come in tens: one of each kind in staging, then one of each kind in production."""
        return Host(
            name=f"h{number}", kind=KINDS[number % 10], environment=ENVIRONMENTS[number // 10 % len(ENVIRONMENTS)]
        )

    def command(self, number: int) -> Command:
        effect = "read" if number // 10 % 2 else "change"
        return Command(name=f"svc.c{number}", kind=KINDS[number % 10], effect=effect)

    def all_hosts(self) -> list[Host]:
        return [self.host(number) for number in range(self.hosts)]

    def all_commands(self) -> list[Command]:
        return [self.command(number) for number in range(self.commands)]

    def lines(self) -> Iterator[Line]:
        """Two lines for each role; each takes ten commands of one kind, if there are as many."""
        for number in range(_LINES_A_ROLE * self.roles):
            first = number // len(KINDS) * _COMMANDS_A_LINE * len(KINDS) + number % len(KINDS)
            numbers = [(first + len(KINDS) * each) % self.commands for each in range(_COMMANDS_A_LINE)]
            yield Line(
                name=f"line{number}",
                role=f"r{number // _LINES_A_ROLE}",
                kind=KINDS[number % len(KINDS)],
                commands=tuple(self.command(each) for each in dict.fromkeys(numbers)),
                unit="nginx" if number % _LINES_A_ROLE else None,
            )

    def granted(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each principal with its roles: two, but for the outsider."""
        for number in range(self.grants - 1):
            yield f"p{number}", tuple(dict.fromkeys((f"r{number % self.roles}", f"r{(number * 7 + 1) % self.roles}")))
        yield OUTSIDER, (f"r{self.roles - 1}",)

    def all_denies(self) -> Iterator[Deny]:
        """One in ten is for everybody and not in force yet; the others each take changes in production from a role."""
        for number in range(self.denies):
            everybody = number % 10 == 1
            yield Deny(
                why=f"freeze {number}",
                role=None if everybody else f"r{number % self.roles}",
                effect="change",
                environment="prod",
                in_force=not everybody,
            )

    # The policy.

    def files(self) -> list[str]:
        """The text of the policy's files, none larger than 1 MiB."""
        commands = self.all_commands()
        parts = [commands[first : first + _A_FILE] for first in range(0, self.commands, _A_FILE)]
        return [self._hosts_file(), *(_commands_file(part) for part in parts), self._access_file()]

    def _hosts_file(self) -> str:
        profile = (
            "ssh_profiles:\n  linux: {user: ops, auth: {key: file:ops}, host_keys: {known_hosts: keys/known_hosts}}\n"
        )
        return f"version: 1\n{profile}hosts:\n" + "".join(
            f"  {host.name}: {{address: {host.name}.example.com, ssh: linux,"
            f" labels: {{kind: {host.kind}, env: {host.environment}}}}}\n"
            for host in self.all_hosts()
        )

    def _access_file(self) -> str:
        principals = "".join(f"  {name}: {{}}\n" for name, _ in self.granted())
        roles: dict[str, str] = {}
        for line in self.lines():
            roles[line.role] = roles.get(line.role, "") + _line(line)
        granted = "".join(f"  - {{to: {name}, roles: [{', '.join(held)}]}}\n" for name, held in self.granted())
        return (
            f"version: 1\nprincipals:\n{principals}roles:\n"
            + "".join(f"  {role}:\n{lines}" for role, lines in roles.items())
            + f"grants:\n{granted}deny:\n{''.join(map(_deny, self.all_denies()))}tests:\n{''.join(self._tests())}"
        )

    def _tests(self) -> Iterator[str]:
        """Each asks for a command of the first line of somebody's first role."""
        first = [line for line in self.lines() if line.unit is None]
        for number in range(self.tests):
            principal = number % (self.grants - 1)
            line = first[principal % self.roles]
            yield (
                f"  - {{as: p{principal}, run: {line.commands[0].name}, on: h{KINDS.index(line.kind)},"
                " with: {unit: redis}, at: 2026-11-02, expect: allow}\n"
            )


def _commands_file(commands: list[Command]) -> str:
    return "version: 1\ncommands:\n" + "".join(
        f"""\
  {command.name}:
    summary: Restart a unit and show its last lines
    effect: {command.effect}
    tags: [{command.kind}]
    run: [/usr/local/bin/restart-unit, --lines=<count>, --, <unit>.service]
    params:
      unit: {{type: enum, values: [{", ".join(UNITS)}]}}
      count: {{type: int, min: 1, max: 1000, default: "10"}}
    on: {{kind: {command.kind}}}
    timeout: 30s
"""
        for command in commands
    )


def _line(line: Line) -> str:
    names = ", ".join(command.name for command in line.commands)
    params = f", params: {{unit: {line.unit}}}" if line.unit else ""
    return f"    - {{commands: [{names}], hosts: {{kind: {line.kind}}}{params}}}\n"


def _deny(deny: Deny) -> str:
    to = f", to: role:{deny.role}" if deny.role else ""
    window = "" if deny.in_force else ", from: 2026-12-20, until: 2027-01-03"
    return f"  - {{why: {deny.why}{to}, commands: {{effect: {deny.effect}}}, hosts: {{env: {deny.environment}}}{window}}}\n"


TEN = Rules(hosts=20, commands=10, roles=5, grants=3, denies=2, tests=2)
TWO_THOUSAND = Rules(hosts=100, commands=2_000, roles=100, grants=200, denies=20, tests=200)
TEN_THOUSAND = Rules(hosts=200, commands=10_000, roles=500, grants=1_000, denies=50, tests=1_000)
