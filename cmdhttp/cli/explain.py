"""`cmdhttp explain`: each step of a decision, the argv, and what would have to change."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from cmdhttp.cli.asking import explainable_policy, place, time
from cmdhttp.cli.text import columns, quoted, say
from cmdhttp.errors import BadValue, ConfigError
from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.compiled import LOCAL, Command, Policy
from cmdhttp.policy.decide import Arguments, Question, Verdict, bind, decide, known_hosts
from cmdhttp.policy.params import ListParam
from cmdhttp.policy.review.describe import instant
from cmdhttp.policy.review.explain import Explanation, Step, explain
from cmdhttp.policy.select import default_host

_MOST_HOSTS = 10
"""On how many hosts a call is explained when none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The call to explain. Without `host` it is a call that names none; `values` are as on the command line."""

    principal: str
    command: str
    values: Sequence[str]
    host: str | None
    at: datetime


def run_explain(folder: Path, asked: Asked, *, as_json: bool) -> int:
    """Explain a call. Returns 0 if it is allowed, else 1. Raises PolicyError or ConfigError if that cannot be told."""
    policy = explainable_policy(folder)
    command = policy.commands.get(asked.command)
    values = read_values(asked.values, command)
    arguments = bind(command, values) if command else Arguments(values={})
    questions = [
        Question(principal=asked.principal, command=asked.command, host=host, arguments=arguments, at=asked.at)
        for host in _hosts(policy, command, asked)
    ]
    found = [explain(policy, question) for question in questions[:_MOST_HOSTS]]
    more = len(questions) - len(found)
    if as_json:
        print(json.dumps(_document(policy, command, found, more), indent=2))
    else:
        _print_all(command, found, more)
    return 0 if all(decide(policy, question).verdict is Verdict.ALLOW for question in questions) else 1


def read_values(pairs: Iterable[str], command: Command | None) -> dict[str, object]:
    """Return the values of `name=text` and `name:=JSON`. Text given again, or for a list, makes a list. Raises ConfigError."""
    texts: dict[str, list[str]] = {}
    values: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name:
            raise ConfigError(f"'{pair}' is not a value", hint="Write name=value, or name:=JSON.")
        if name in values or (is_json and name in texts):
            raise ConfigError(f"'{name}' is given twice", hint="Only name=value may be repeated, for a list.")
        if is_json:
            values[name] = _read_json(name, text)
        else:
            texts.setdefault(name, []).append(text)
    lists = {name for name, spec in command.params.items() if isinstance(spec, ListParam)} if command else set()
    return values | {name: given if len(given) > 1 or name in lists else given[0] for name, given in texts.items()}


def _read_json(name: str, text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        hint = f'Text is {name}=text; a list is {name}:=["a", "b"] or {name}=a {name}=b.'
        raise ConfigError(f"the value of '{name}' is not JSON", hint=hint) from None


def _refused(_: str) -> NoReturn:
    raise ValueError


def _hosts(policy: Policy, command: Command | None, asked: Asked) -> list[str]:
    """The host that is named, else where a call without hosts goes, else every host that the command is made for."""
    if asked.host is not None:
        return [asked.host]
    if command is None:
        return [LOCAL]
    default = default_host(known_hosts(policy, principal=asked.principal, command=command))
    return [default] if default else sorted(command.hosts) or [LOCAL]


def _argv(command: Command | None, arguments: Arguments) -> tuple[str, ...] | None:
    """What would run, a script by its sum; None if the values do not make an argv."""
    if command is None or arguments.errors:
        return None
    try:
        argv = resolve_argv(command, arguments.values)
    except BadValue:
        return None
    return (*command.script.interpreter, f"sha256:{command.script.sha256}", *argv) if command.script else argv


# -- for people


def _print_all(command: Command | None, found: Sequence[Explanation], more: int) -> None:
    for number, one in enumerate(found):
        if number:
            say()
        _print(command, one)
    if more:
        say()
        say(f"and {more} more hosts; name one with --on")


def _print(command: Command | None, one: Explanation) -> None:
    asked, decision = one.question, one.decision
    say(f"{asked.principal} runs {asked.command} on {asked.host} at {instant(asked.at)}: {decision.verdict}")
    say()
    cells = [(_mark(step), step.check.replace("_", " "), _with_place(step)) for step in one.steps]
    for line, step in zip(columns(cells), one.steps, strict=True):
        say(f"  {line}")
        for error in step.errors:
            say(f"        {error.pointer}: {error.detail} [{error.code}]")
            if error.hint:
                say(f"            hint: {error.hint}")
    if one.changes:
        say()
        say("any one of these would change it:")
        for change in one.changes:
            say(f"  - {change.text}")
    argv = _argv(command, asked.arguments)
    if argv is not None:
        say()
        say(f"argv: {quoted(argv)}")
    for note in one.notes:
        say(f"note: {note}")


def _with_place(step: Step) -> str:
    return f"{step.text} ({step.at})" if step.at else step.text


def _mark(step: Step) -> str:
    return f"{'>' if step.settled else ' '} {'ok' if step.holds else 'no'}"


# -- for machines


def _document(policy: Policy, command: Command | None, found: Sequence[Explanation], more: int) -> dict[str, object]:
    documents = [_explanation_document(command, one) for one in found]
    return {"policy": policy.digest, "explanations": documents, "more_hosts": more}


def _explanation_document(command: Command | None, one: Explanation) -> dict[str, object]:
    asked, decision = one.question, one.decision
    shown = (
        {name: command.params[name].recorded(value) for name, value in asked.arguments.values.items()}
        if command
        else {}
    )
    return {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "why": decision.why,
        "at": place(decision.at),
        "principal": asked.principal,
        "command": asked.command,
        "host": asked.host,
        "time": time(asked.at),
        "values": shown,
        "steps": [_step_document(step) for step in one.steps],
        "changes": [{"kind": change.kind, "text": change.text} for change in one.changes],
        "argv": _argv(command, asked.arguments),
        "notes": list(one.notes),
    }


def _step_document(step: Step) -> dict[str, object]:
    return {
        "check": step.check,
        "holds": step.holds,
        "settled": step.settled,
        "text": step.text,
        "at": place(step.at),
        "errors": [asdict(error) for error in step.errors],
    }
