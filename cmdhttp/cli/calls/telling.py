"""What a person is told of a call that failed, and how a verb that calls ends. Pure but for its screen."""

import json
from collections.abc import Callable

from cmdhttp.cli.calls.ends import Exit, exit_of_failure
from cmdhttp.cli.calls.interrupts import Left
from cmdhttp.cli.calls.screen import OutputLost, Screen
from cmdhttp.client.failures import CallFailed, Refused

_PARAMS = "/params/"


def ended(screen: Screen, work: Callable[[], int], *, as_json: bool) -> int:
    """Do the work of a verb; returns its exit code, or that of the failure that it raises, which is then told."""
    try:
        code = work()
        screen.end()
    except CallFailed as failure:
        screen.end()
        tell(failure, screen, as_json=as_json)
        return exit_of_failure(failure)
    except OutputLost as lost:
        screen.progress("")
        if lost.reader_gone:
            return Exit.READER_GONE
        screen.say(f"cmdhttp: the output cannot be written: {lost}")
        return 2
    except Left:
        screen.progress("")
        return Exit.LEFT
    return code


def tell(failure: CallFailed, screen: Screen, *, as_json: bool) -> None:
    """Print a failure on stderr: the problem document itself with `as_json`, else as text."""
    if as_json and isinstance(failure, Refused):
        screen.say(json.dumps(failure.problem.document))
    elif as_json:
        screen.say(json.dumps({"code": "unreachable", "title": "No answer", "detail": str(failure)}))
    else:
        screen.say(*lines_of(failure))


def lines_of(failure: CallFailed) -> list[str]:
    """Return a failure as text: what, where in the call, how to mend it, and under which id the service may know it."""
    if not isinstance(failure, Refused):
        return [f"cmdhttp: {failure}"]
    problem = failure.problem
    title, detail = problem.text("title"), problem.text("detail")
    lines = [f"cmdhttp: {title}: {detail}" if title and detail else f"cmdhttp: {title or detail}"]
    for fault in problem.faults:
        lines.append(f"    {_place(fault.get('pointer', ''))}: {fault.get('detail', '')}")
        if hint := fault.get("hint") or _own_hint(fault.get("pointer", ""), fault.get("code", "")):
            lines.append(f"        hint: {hint}")
    if hint := problem.text("hint"):
        lines.append(f"    hint: {hint}")
    if request_id := problem.text("request_id"):
        lines.append(f"    request: {request_id}")
    return lines


def _place(pointer: str) -> str:
    """A pointer as the command line would say it."""
    return pointer.removeprefix(_PARAMS if pointer.startswith(_PARAMS) else "/").replace("~1", "/").replace("~0", "~")


def _own_hint(pointer: str, code: str) -> str:
    if code != "type" or not pointer.startswith(_PARAMS):
        return ""
    name = _place(pointer)
    return f"A list of one is {name}:='[\"a\"]', a file is {name}@FILE, other JSON {name}:=JSON."
