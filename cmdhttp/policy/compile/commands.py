"""Commands: the template parsed, the script read, the limits as plain numbers, and what cannot be done said."""

import errno
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from cmdhttp.linear import compile_mask
from cmdhttp.policy import source, template
from cmdhttp.policy.compile.report import Report
from cmdhttp.policy.compile.selectors import HostNames
from cmdhttp.policy.compiled import (
    EVERYTHING,
    LOCAL,
    Approval,
    Collect,
    Command,
    Concurrency,
    Limits,
    OutputRules,
    Script,
    Stdin,
)
from cmdhttp.policy.findings import Position, suggestion
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CommandSpec
from cmdhttp.policy.shells import POSIX, POWERSHELL, RAW, WINDOWS, is_program

INTERPRETERS: Mapping[str, tuple[str, ...]] = {
    "sh": ("/bin/sh",),
    "bash": ("/bin/bash",),
    "python": ("/usr/bin/env", "python3", "-I"),
    "powershell": POWERSHELL,
}
_NO_FILES_THERE = "take such hosts out of 'on', or expect such calls to end as 'unsupported' there"
_MAX_SCRIPT = 64 << 10
_WAYS = ("run", "script", "script_file")


def compile_command(
    name: str, defined: Defined[CommandSpec], places: HostNames, report: Report, approval: Approval | None
) -> Command:
    """Resolve one command; what is wrong goes into the report."""
    spec = defined.spec
    hosts = places.resolve(child(defined.node, "on"), everything=places.remote)
    if spec.account is not None and LOCAL in hosts and report.folders.may_switch is False:
        message = f"'as: {spec.account}' on local needs the service to be started as root"
        hint = "start it as root, leave out 'as', or take 'local' out of 'on'"
        report.say("P208", message, defined.where("as"), hint)
    _say_not_applied(defined, hosts, report)
    return Command(
        name=name,
        summary=spec.summary,
        description=spec.description,
        effect=spec.effect,
        tags=tuple(spec.tags),
        template=_template(defined, hosts, places, report),
        script=_script(defined, hosts, places, report),
        params=spec.params,
        hosts=hosts,
        account=spec.account,
        timeout=spec.timeout,
        output=OutputRules(max_bytes=spec.output.max, when_full=spec.output.when_full, redact=_redact(defined, report)),
        stdin=Stdin(max_bytes=spec.stdin.max, secret=spec.stdin.type == "secret") if spec.stdin else None,
        env=spec.env,
        limits=Limits(**spec.limits.model_dump()) if spec.limits else Limits(),
        concurrency=Concurrency(**spec.concurrency.model_dump()) if spec.concurrency else None,
        rate=spec.rate,
        parser=_parser(defined, report),
        success_codes=frozenset(spec.success_codes),
        reason_required=spec.reason == "required",
        approval=approval,
        max_parallel=spec.max_parallel,
        batch=spec.batch,
        max_failures=spec.max_failures,
        isolated=spec.isolation == "namespace",
        atoms=(f"name:{name}", f"effect:{spec.effect}", *(f"tag:{tag}" for tag in spec.tags), EVERYTHING),
        at=defined.at,
        collect=_collect(defined, hosts, places, report),
    )


def child(node: source.Node | None, key: str | int) -> source.Node | None:
    """The node below, if there is one."""
    if isinstance(node, source.Mapping) and isinstance(key, str):
        return node.get(key)
    return node.items[key] if isinstance(node, source.Sequence) and isinstance(key, int) else None


def _say_not_applied(defined: Defined[CommandSpec], hosts: frozenset[str], report: Report) -> None:
    spec = defined.spec
    if hosts - {LOCAL}:
        if spec.limits is not None:
            report.not_remote("'limits'", defined.where("limits"))
        if spec.isolation != "none":
            report.not_remote("'isolation'", defined.where("isolation"))


def _collect(defined: Defined[CommandSpec], hosts: frozenset[str], places: HostNames, report: Report) -> Collect | None:
    """What is collected at the end. Says what cannot be done of files, and of parameters that become files."""
    spec = defined.spec
    staged = [name for name, param in spec.params.items() if param.staged]
    profiles = (places.hosts[host].profile for host in hosts)
    for what in sorted({what for profile in profiles if profile and (what := profile.no_files(spec.account))}):
        for place in (*(("params", name) for name in staged), *((("files",),) if spec.files else ())):
            report.not_done(what, defined.where(*place), _NO_FILES_THERE)
    if spec.run is None:
        for name in staged:
            if f"{name}_file" in spec.params:
                message = f"'{name}' and '{name}_file' both fill the variable P_{name.upper()}_FILE"
                report.say("P225", message, defined.where("params", f"{name}_file"), "give one of them another name")
    return Collect(patterns=tuple(spec.files.collect), max_bytes=spec.files.max) if spec.files else None


def _redact(defined: Defined[CommandSpec], report: Report) -> tuple[str, ...]:
    """The patterns that are masked, each checked by the engine that will run it."""
    for index, text in enumerate(defined.spec.output.redact):
        try:
            compile_mask(text)
        except ValueError as error:
            report.say(
                "P222", f"the output cannot be masked by this: {error}", defined.where("output", "redact", index)
            )
    return defined.spec.output.redact


def _parser(defined: Defined[CommandSpec], report: Report) -> str | None:
    if defined.spec.result is None:
        return None
    name, known = defined.spec.result.parse, report.folders.parsers
    if name not in known:
        hints = filter(None, (suggestion(name, known), report.folders.more_parsers))
        report.say("P220", f"there is no parser '{name}'", defined.where("result", "parse"), "; ".join(hints))
    return name


def _template(
    defined: Defined[CommandSpec], hosts: frozenset[str], places: HostNames, report: Report
) -> template.Template:
    spec = defined.spec
    ways = [key for key in _WAYS if getattr(spec, key) is not None]
    if len(ways) != 1:
        message = f"give exactly one of run, script and script_file (given: {', '.join(ways) or 'none'})"
        report.say("P209", message, defined.at)
    key = "run" if spec.run is not None else "args"
    parsed, errors = template.parse(spec.run if spec.run is not None else spec.args, spec.params)
    for error in errors:
        hint = error.hint or suggestion(error.name, spec.params)
        report.say("P210", error.message, defined.where(key, error.index), hint)
    if spec.run is not None:
        shells = {places.shell(host) for host in hosts}
        _check_program(parsed, shells or {POSIX}, defined, report)
    return parsed


def _check_program(parsed: template.Template, shells: set[str], defined: Defined[CommandSpec], report: Report) -> None:
    """Say what no host of the command can be told to start; lint says what only some of them cannot."""
    program = parsed[0]
    path = program.constant if isinstance(program, template.Argument) else None
    if path is None:
        message, hint = "the program may not depend on a parameter", "write one command for each program"
        report.say("P302", message, defined.where("run", 0), hint)
    elif not any(is_program(path, shell) for shell in shells):
        report.say("P301", *_no_program(path, shells, defined))
    for key in ("args", "interpreter"):
        if getattr(defined.spec, key):
            report.say("P209", f"'{key}' goes with a script, and this command has 'run'", defined.where(key))


def _no_program(path: str, shells: set[str], defined: Defined[CommandSpec]) -> tuple[str, Position, str]:
    at = defined.where("run", 0)
    if POSIX in shells:
        return f"the program '{path}' is not an absolute path", at, f"write the whole path, like /usr/bin/{path}"
    if shells == {RAW}:
        hint = "one word of letters, digits and ._/:,=@+-, like show"
        return f"the program '{path}' cannot be sent to a host with the shell raw", at, hint
    message = f"the program '{path}' is not an .exe or .com named by its absolute path, or it is cmd.exe"
    return message, at, r"write the whole path, like C:\Windows\System32\whoami.exe"


# Scripts.


def _script(defined: Defined[CommandSpec], hosts: frozenset[str], places: HostNames, report: Report) -> Script | None:
    spec = defined.spec
    if spec.script is None and spec.script_file is None:
        return None
    if spec.interpreter == "powershell" and not all(places.shell(host) in WINDOWS for host in hosts):
        hint = "make it for Windows hosts alone, or expect such calls to end as 'unsupported' elsewhere"
        report.not_done("scripts for powershell", defined.where("interpreter"), hint)
    known = {**INTERPRETERS, **report.folders.interpreters}
    interpreter = known.get(spec.interpreter or "")
    if interpreter is None:
        at = defined.where("interpreter") if spec.interpreter else defined.at
        report.say("P211", "a script needs a known interpreter", at, f"one of: {', '.join(known)}")
    text = spec.script if spec.script is not None else _script_text(defined, report)
    path = "" if spec.script_file is None else str(report.folders.policies / spec.script_file)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Script(interpreter=interpreter or (), text=text, sha256=digest, path=path)


def _script_text(defined: Defined[CommandSpec], report: Report) -> str:
    folder = report.folders.policies
    path = folder / str(defined.spec.script_file)
    at = defined.where("script_file")
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            report.say("P212", "the script file is outside the policy folder", at)
            return ""
        return _read_script(path)
    except (OSError, ValueError, RuntimeError) as error:
        looped = isinstance(error, RuntimeError)  # how `resolve` tells of a loop of links before Python 3.13
        reason = os.strerror(errno.ELOOP) if looped else error.strerror if isinstance(error, OSError) else str(error)
        hint = "the path counts from the policy folder"
        report.say("P212", f"the script file cannot be read: {reason}", at, hint)
        return ""


def _read_script(path: Path) -> str:
    """The text. Raises OSError, or ValueError with the reason."""
    if not path.is_file():  # opening a fifo or a device could wait for ever
        path.stat()
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(_MAX_SCRIPT + 1)
    if len(data) > _MAX_SCRIPT:
        raise ValueError(f"it is over {_MAX_SCRIPT} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if "\0" in text:
        raise ValueError("it holds a NUL")
    return text
