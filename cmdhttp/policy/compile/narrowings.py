"""The parameters that a role line or deny narrows, compiled against every command that the rule takes in."""

from collections.abc import Mapping, Sequence

from cmdhttp.policy import source
from cmdhttp.policy.compile.report import Report
from cmdhttp.policy.compiled import Command
from cmdhttp.policy.findings import Position, suggestion
from cmdhttp.policy.params import Narrowing, ParamSpec


def compile_narrowings(
    wanted: Mapping[str, object], node: source.Node, taken: Sequence[Command], report: Report
) -> dict[str, Narrowing]:
    """Return a narrowing for each parameter. All commands of the rule must declare it alike."""
    narrowings: dict[str, Narrowing] = {}
    for name, by in wanted.items():
        at = source.locate(node, ("params", name))
        specs: list[ParamSpec] = []
        for command in taken:
            if (spec := command.params.get(name)) is not None:
                specs.append(spec)
            else:
                message, hint = (
                    f"the command '{command.name}' has no parameter '{name}'",
                    suggestion(name, command.params),
                )
                report.say("P213", message, at, hint)
        narrowing = _narrowing(name, by, specs, at, report)
        if narrowing is not None:
            narrowings[name] = narrowing
    return narrowings


def _narrowing(name: str, by: object, specs: list[ParamSpec], at: Position, report: Report) -> Narrowing | None:
    if not specs:
        return None
    declared = (specs[0].type, specs[0].constraints())
    if any((spec.type, spec.constraints()) != declared for spec in specs[1:]):
        message = f"the commands of this line declare '{name}' differently"
        report.say("P213", message, at, "write one line for each of these commands")
    try:
        return specs[0].narrowed(by)
    except ValueError as error:
        report.say("P213", f"'{name}' cannot be narrowed so: {error}", at)
        return None
