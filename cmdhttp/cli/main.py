"""`cmdhttp`: parse, call, and turn errors into messages and exit codes (0 done, 1 findings, 2 cannot do it, 130 Ctrl-C)."""

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence

from cmdhttp import __version__
from cmdhttp.cli.host_verbs import add_host_verbs
from cmdhttp.cli.jobs import add_job_verbs
from cmdhttp.cli.policy_verbs import add_policy_verbs
from cmdhttp.cli.run import add_run_verb
from cmdhttp.cli.starter_verbs import add_starter_verbs
from cmdhttp.cli.text import print_error, visible
from cmdhttp.errors import CmdHttpError
from cmdhttp.settings import SETTINGS, Settings, variable

_ABOUT = """\
Run published commands over HTTP, for callers that may run them.

An admin writes policy files: which commands exist, who may run them, with which values, on which hosts. A caller sends one
authenticated request and gets the result back. Nothing runs that the policy does not publish.
"""

_START = """\
start here:
  cmdhttp init policies             write a first policy that works, and print a token for it
  cmdhttp check --strict policies   is the policy right?
  cmdhttp test policies             does it answer what its tests say?
  cmdhttp serve --policies policies

then call it, in another terminal, with the token that init has printed:
  curl -H "Authorization: Bearer TOKEN" -H "Content-Type: application/json" \\
       -d '{"params": {"path": "/"}}' http://127.0.0.1:8080/v1/run/disk.usage
"""


_INTERRUPTED = 130
_COLLECT_AFTER = 50_000
_FOLDER_HELP = f"the policy folder [{variable('policies')}; {Settings().policies}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, that of the program if there are no `arguments`; returns the exit code."""
    if arguments is None:
        _spare_the_collector()
    options = _parsed(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except CmdHttpError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2


def _spare_the_collector() -> None:
    """Most verbs end before there is garbage; to look for it takes a sixth of their time, most of it when all is over."""
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options. argparse leaves over a value that stands behind a flag; it belongs to the values before it."""
    parser = _parser()
    options, late = parser.parse_known_args(arguments)
    if late and not (
        hasattr(options, "values") and all(("=" in text or "@" in text) and text[0] != "-" for text in late)
    ):
        parser.error(visible(f"unrecognized arguments: {' '.join(late)}"))
    if late:
        options.values = [*options.values, *late]
    return options


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="cmdhttp", description=_ABOUT, epilog=_START, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=f"cmdhttp {__version__}")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(verbs)
    _add_doctor(verbs)
    add_starter_verbs(verbs)
    _add_check(verbs)
    _add_test(verbs)
    add_policy_verbs(verbs)
    add_host_verbs(verbs)
    add_run_verb(verbs)
    add_job_verbs(verbs)
    _add_token(verbs)
    return parser


def _add_serve(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "serve",
        help="serve the API",
        description="Serve the API on one address and health checks on another, until SIGTERM or Ctrl-C.",
        epilog="Each flag may also be set by its variable; a flag wins.",
    )
    _add_settings(parser)
    parser.add_argument(
        "--demo", action="store_true", help="give the principal 'demo' a token of this machine and print calls to paste"
    )
    parser.set_defaults(run=_serve)


def _add_doctor(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "doctor",
        help="say whether this machine and these settings are fit to serve",
        description="Look at all that 'serve' would need, with the same settings, before or while it serves: one line a check.\n"
        "It changes nothing: what it makes to find out, it removes.",
        epilog="Exit code 0: nothing fails. 1: something does. 2: it cannot be told: the settings are wrong.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    parser.set_defaults(run=_doctor)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    defaults = Settings()
    for name, meaning in SETTINGS.items():
        default = getattr(defaults, name)
        shown = f"{meaning} [{variable(name)}" + (f"; {_shown(default)}]" if default not in (None, "") else "]")
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=_metavar(default), help=shown, dest=f"set_{name}")


def _add_check(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "check",
        help="validate a policy folder",
        description="Read every policy file of a folder and print all that is wrong, each with file:line:column and a hint.",
        epilog="Exit code 0: the policy loads. 1: it does not, and 'serve' refuses it alike (with --strict also when there is a"
        " warning). 2: it cannot be read.",
    )
    parser.add_argument("folder", nargs="?", metavar="DIR", help=_FOLDER_HELP)
    parser.add_argument("--strict", action="store_true", help="let warnings count as errors")
    parser.add_argument("--json", action="store_true", help="print findings as JSON")
    parser.set_defaults(run=_check)


def _add_test(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "test",
        help="run the policy's own tests",
        description="Run the tests of a policy folder, and print the role lines and denies that no test touches.",
        epilog="Exit code 0: all pass. 1: one fails, or the policy does not load. 2: it cannot be read.",
    )
    parser.add_argument("folder", nargs="?", metavar="DIR", help=_FOLDER_HELP)
    parser.add_argument("-k", dest="only", metavar="NAME", help="run only the tests whose name has this text")
    parser.add_argument("--json", action="store_true", help="print tests and coverage as JSON")
    parser.set_defaults(run=_test)


def _add_token(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser("token", help="make tokens", description="Make tokens for principals.")
    new = parser.add_subparsers(required=True, metavar="new").add_parser(
        "new",
        help="make a token",
        description="Make a token and print it once, with the line for the policy. Only its sha256 is ever kept.",
    )
    new.add_argument("principal", metavar="PRINCIPAL", help="the name under 'principals' in the policy")
    new.add_argument("--expires", default="90d", metavar="SPAN", help="how long it lives, like 90d or 12h [90d]")
    new.add_argument("--json", action="store_true", help="print {token, id, sha256, expires} as JSON")
    new.set_defaults(run=_token_new)


def _serve(options: argparse.Namespace) -> int:
    gc.disable()  # nothing in a program that is being imported is garbage, and looking costs a fifth of the start
    from cmdhttp.cli.serve import run_serve  # noqa: PLC0415 - other verbs need no HTTP stack

    gc.freeze()
    gc.enable()
    return run_serve(os.environ, _given(options), demo=options.demo)


def _doctor(options: argparse.Namespace) -> int:
    from cmdhttp.cli.doctor.verb import run_doctor  # noqa: PLC0415

    return run_doctor(os.environ, _given(options), as_json=options.json)


def _given(options: argparse.Namespace) -> dict[str, str]:
    """The settings that the command line gives."""
    return {name: value for name in SETTINGS if (value := getattr(options, f"set_{name}")) is not None}


def _check(options: argparse.Namespace) -> int:
    from cmdhttp.cli.check import run_check  # noqa: PLC0415
    from cmdhttp.cli.inputs import policy_folder, policy_inputs  # noqa: PLC0415

    folder, inputs = policy_folder(os.environ, options.folder), policy_inputs(os.environ)
    return run_check(folder, inputs, strict=options.strict, as_json=options.json)


def _test(options: argparse.Namespace) -> int:
    from cmdhttp.cli.check import run_test  # noqa: PLC0415
    from cmdhttp.cli.inputs import policy_folder, policy_inputs  # noqa: PLC0415

    folder, inputs = policy_folder(os.environ, options.folder), policy_inputs(os.environ)
    return run_test(folder, inputs, only=options.only, as_json=options.json)


def _token_new(options: argparse.Namespace) -> int:
    from cmdhttp.cli.token import run_token_new  # noqa: PLC0415

    return run_token_new(options.principal, expires=options.expires, as_json=options.json)


def _shown(default: object) -> str:
    """A default as a person writes it."""
    if isinstance(default, float):
        return f"{default:g}"
    return "none" if default == {} else str(default)


def _metavar(default: object) -> str:
    return "NUMBER" if isinstance(default, int | float) else "VALUE"


if __name__ == "__main__":
    sys.exit(main())
