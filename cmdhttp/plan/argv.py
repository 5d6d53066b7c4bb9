"""A template and its values become argv. One item of the template is one argument, whatever is in the value."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cmdhttp.errors import BadValue
from cmdhttp.policy.compiled import Command
from cmdhttp.policy.params import Value
from cmdhttp.policy.template import Argument, Group, Ref, Spread, Template, names

MAX_ARGV = 64 << 10
"""Bytes of one argv in UTF-8, with a terminator each."""

SHOWN_SECRET = "***"  # noqa: S105 - this is what stands in place of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Resolves templates of one command with the values of one call."""

    command: Command
    values: Mapping[str, Value]

    def argv(self) -> tuple[str, ...]:
        """Return the exact argv. Raises BadValue (`argv_too_long`) over `MAX_ARGV`."""
        argv = tuple(self._resolve(self.command.template, self._text))
        if sum(len(item.encode()) + 1 for item in argv) > MAX_ARGV:
            raise BadValue("argv_too_long", f"the arguments are over {MAX_ARGV} bytes together")
        return argv

    def shown_argv(self) -> tuple[str, ...]:
        """Return argv as records and answers carry it: secrets as `***`."""
        return tuple(self._resolve(self.command.template, self._shown_text))

    def shown_params(self) -> dict[str, object]:
        return {
            name: SHOWN_SECRET if self.command.params[name].secret else value for name, value in self.values.items()
        }

    def env(self) -> dict[str, str]:
        """Return the variables of the run: what the policy sets, and for a script its values as `P_<NAME>`."""
        env = dict(self.command.env)
        if self.command.script:
            for name, value in self.values.items():
                if not self.command.params[name].secret:
                    env[f"P_{name.upper()}"] = self._text(name, value)
        return env

    def _text(self, name: str, value: Value) -> str:
        return self.command.params[name].render(value)

    def _shown_text(self, name: str, value: Value) -> str:
        return SHOWN_SECRET if self.command.params[name].secret else self._text(name, value)

    def _resolve(self, template: Template, text: Callable[[str, Value], str]) -> Iterator[str]:
        for item in template:
            match item:
                case Group(items):
                    if all(name in self.values for name in names(items)):
                        yield from self._resolve(items, text)
                case Spread(name):
                    items_of = self.values.get(name, ())
                    for member in items_of if isinstance(items_of, tuple) else ():
                        yield text(name, (member,))
                case Argument(parts) if not self._is_dropped_flag(item):
                    yield "".join(text(p.name, self.values[p.name]) if isinstance(p, Ref) else p.text for p in parts)
                case Argument():
                    pass

    def _is_dropped_flag(self, item: Argument) -> bool:
        """A boolean with a flag that is false or absent stands for no argument at all."""
        first = item.parts[0]
        if not isinstance(first, Ref) or not getattr(self.command.params[first.name], "flag", None):
            return False
        return self.values.get(first.name) is not True
