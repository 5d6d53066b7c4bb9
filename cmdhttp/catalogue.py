"""What a caller may do: its commands and hosts, its rights over jobs of others, its limits and what of them is used."""

from cmdhttp.auth.principal import Principal
from cmdhttp.errors import Forbidden
from cmdhttp.jobs.door import Door, Used
from cmdhttp.jobs.rates import RateLeft
from cmdhttp.policy.compiled import Command, Oversight, Policy, Quota
from cmdhttp.policy.decide import known_hosts
from cmdhttp.reload.reloader import PolicyHolder


class Catalogue:
    """The policy in force, as one caller may know it."""

    def __init__(self, policy: PolicyHolder, door: Door) -> None:
        self._holder = policy
        self._door = door

    @property
    def policy(self) -> Policy:
        return self._holder.current

    def commands(self, principal: Principal) -> list[tuple[Command, list[str]]]:
        """Return every command that the caller may run somewhere, with the hosts, by name."""
        policy = self.policy
        found = [(command, allowed_hosts(policy, principal, command)) for command in policy.commands.values()]
        return sorted(((command, hosts) for command, hosts in found if hosts), key=lambda entry: entry[0].name)

    def command(self, principal: Principal, name: str) -> tuple[Command, list[str]]:
        """Return one such command. Raises Forbidden alike for unknown and for forbidden."""
        policy = self.policy
        command = policy.commands.get(name)
        hosts = allowed_hosts(policy, principal, command) if command else []
        if command is None or not hosts:
            raise no_command()
        return command, hosts

    def roles(self, principal: Principal) -> tuple[str, ...]:
        held = self.policy.principals.get(principal.name)
        return held.roles if held else ()

    def overseen(self, principal: Principal) -> list[tuple[Oversight, list[str]]]:
        """Return the lines of the policy that give a principal rights over jobs of others, with the commands of each."""
        held, commands = self.policy.principals.get(principal.name), self.policy.commands.values()
        lines = {line.at: line for lines in held.oversight.values() for line in lines} if held else {}
        return [
            (lines[place], sorted(one.name for one in commands if not lines[place].atoms.isdisjoint(one.atoms)))
            for place in sorted(lines)
        ]

    def used_by(self, principal: Principal) -> tuple[Quota, Used]:
        """Return what the policy lets a principal ask for, and what of it is used."""
        held = self.policy.principals.get(principal.name)
        return held.quota if held else Quota(), self._door.used_by(principal.name)

    def rate_left(self, command: Command) -> RateLeft | None:
        return self._door.rate_left(command.name)


def allowed_hosts(policy: Policy, principal: Principal, command: Command) -> list[str]:
    """Return the hosts on which a caller may run a command with some values, by name."""
    return sorted(known_hosts(policy, principal=principal.name, command=command))


def no_command() -> Forbidden:
    """Return the one answer for a command that is not there and for one that is not allowed."""
    return Forbidden(
        "There is no such command, or this caller may not run it with these values on these hosts.",
        hint="GET /v1/commands lists what this caller may run, and where.",
    )
