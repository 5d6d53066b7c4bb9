"""The checks in their order, and how what they saw is told."""

import json
from collections.abc import Iterator, Mapping

from cmdhttp.cli.doctor import kept, machine, places, serving
from cmdhttp.cli.doctor.case import Case, Check, Seen, State, fail
from cmdhttp.cli.doctor.running import find_running
from cmdhttp.cli.text import say
from cmdhttp.errors import ConfigError
from cmdhttp.settings import Settings, read_settings

CHECKS: Mapping[str, Check] = {
    "python": machine.check_python,
    "account": machine.check_account,
    "clock": machine.check_clock,
    "service": serving.check_service,
    "containment": machine.check_containment,
    "cgroup": machine.check_cgroup,
    "guard": machine.check_guard,
    "namespace": machine.check_namespace,
    "runs": places.check_runs,
    "data": places.check_data,
    "disk": places.check_disk,
    "database": kept.check_database,
    "reserve": kept.check_reserve,
    "set_aside": kept.check_set_aside,
    "sync": places.check_sync,
    "secrets": places.check_secrets,
    "policy": serving.check_policy,
    "writers": serving.check_writers,
    "listen": serving.check_listen,
    "ops_listen": serving.check_ops_listen,
    "parsers": machine.check_parsers,
}


def run_doctor(environ: Mapping[str, str], given: Mapping[str, str], *, as_json: bool) -> int:
    """Look at everything and print it. Returns 0, or 1 if something fails. Raises ConfigError for wrong settings."""
    settings = read_settings(environ, given)
    seen = list(examine(settings))
    failed = any(one.state is State.FAIL for _, one in seen)
    if as_json:
        checks = [{"check": name, "state": one.state, "what": one.what, "hint": one.hint} for name, one in seen]
        print(json.dumps({"ok": not failed, "checks": checks}, indent=2))
    else:
        _print(seen)
    return 1 if failed else 0


def examine(settings: Settings) -> Iterator[tuple[str, Seen]]:
    """Yield the name of each check with what it saw. A check that cannot look is one that fails."""
    case = _case(settings)
    for name, check in CHECKS.items():
        try:
            yield from ((name, seen) for seen in check(case))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            yield (
                name,
                fail(f"{where}{error.strerror or error}", "Run the doctor as the account that serves, or as root."),
            )
        except ConfigError as error:
            yield name, fail(error.detail, error.hint)


def _case(settings: Settings) -> Case:
    try:
        return Case(settings=settings, running=find_running(settings))
    except OSError as error:
        return Case(settings=settings, blind=error.strerror or str(error))


def _print(seen: list[tuple[str, Seen]]) -> None:
    width = max(map(len, CHECKS))
    for name, one in seen:
        say(f"{one.state:<4}  {name:<{width}}  {one.what}")
        if one.hint:
            say(f"      {'':<{width}}  hint: {one.hint}")
    counts = {state: sum(one.state is state for _, one in seen) for state in State}
    say(f"{counts[State.OK]} ok, {counts[State.WARN]} to look at, {counts[State.FAIL]} failed")
