"""A template and its values become argv. One item of the template is one argument, whatever is in the value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import Staged
from cmdhttp.policy.compiled import Command
from cmdhttp.policy.params import Upload, Value
from cmdhttp.policy.template import Argument, Group, Ref, Spread, Template, Text, names

_UPLOAD_MODE, _SECRET_MODE = 0o600, 0o400
MAX_ARGV = 64 << 10
"""Bytes of one argv in UTF-8, with a terminator each."""


def resolve_argv(command: Command, values: Mapping[str, Value]) -> tuple[str, ...]:
    """Return the exact argv of a command with normalised values. Raises BadValue if it is too long."""
    return Resolver(command=command, values=values).argv()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Resolves templates of one command with the values of one call. `paths` says where staged values lie, by parameter."""

    command: Command
    values: Mapping[str, Value]
    paths: Mapping[str, str] = field(default_factory=dict)

    def argv(self) -> tuple[str, ...]:
        """Return the exact argv. Raises BadValue (`argv_too_long`) over `MAX_ARGV`."""
        argv = tuple(self._resolve(self.command.template))
        if sum(len(item.encode()) + 1 for item in argv) > MAX_ARGV:
            raise BadValue("argv_too_long", f"the arguments are over {MAX_ARGV} bytes together")
        return argv

    def shown_params(self) -> dict[str, object]:
        """Return the values as records and answers carry them: secrets as `***`."""
        return {name: self.command.params[name].recorded(value) for name, value in self.values.items()}

    def env(self) -> dict[str, str]:
        """Return the variables of the run: what the policy sets, and for a script its values as `P_<NAME>`."""
        env = dict(self.command.env)
        if self.command.script:
            for name, value in self.values.items():
                spec = self.command.params[name]
                if spec.env_allowed:
                    env[f"P_{name.upper()}"] = spec.render(value)
        return env

    def staged(self) -> tuple[Staged, ...]:
        """Return the values that reach the process as files: an upload under its own name, a secret under its parameter's."""
        return tuple(
            Staged(
                param=name,
                name=value.name if isinstance(value, Upload) else name,
                data=self.command.params[name].payload(value),
                mode=_UPLOAD_MODE if isinstance(value, Upload) else _SECRET_MODE,
            )
            for name, value in self.values.items()
            if self.command.params[name].staged
        )

    def _resolve(self, template: Template) -> Iterator[str]:
        for item in template:
            match item:
                case Group(items):
                    if all(name in self.values for name in names(items)):
                        yield from self._resolve(items)
                case Spread(name) | Argument((Ref(name),)):
                    if name in self.values:
                        yield from self._whole(name)
                case Argument(parts):
                    yield "".join(self._text(part) for part in parts)
                case _:
                    assert_never(item)

    # What is staged has a path only once it runs; where that is not known, its placeholder stands for it.

    def _path(self, name: str) -> str:
        return self.paths.get(name, f"<{name}>")

    def _whole(self, name: str) -> tuple[str, ...]:
        spec = self.command.params[name]
        return (self._path(name),) if spec.staged else spec.arguments(self.values[name])

    def _text(self, part: Text | Ref) -> str:
        if isinstance(part, Text):
            return part.text
        spec = self.command.params[part.name]
        return self._path(part.name) if spec.staged else spec.render(self.values[part.name])
