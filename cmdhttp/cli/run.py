"""`cmdhttp run`, as it is written on the command line."""

import argparse
import os

from cmdhttp.cli.calls.way import add_way, seconds

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns

_ABOUT = """\
Run a command through a service, show its output as it comes, and end with its exit code. The call carries an idempotency
key of its own, so that it runs once however often the network makes it be sent again.

values:
  NAME=TEXT    text, also for numbers; for a list, again
  NAME:=JSON   a number, a list, an object
  NAME=@FILE   the text of a file, less one line feed at its end: so a secret does not stand on the command line
  NAME@FILE    send a file, for a parameter of type file
FILE may be '-' for stdin, once.
"""


def add_run_verb(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Add `run`."""
    from cmdhttp.cli.calls.ends import EPILOG  # noqa: PLC0415

    parser = verbs.add_parser(
        "run",
        help="run a command through a service",
        description=_ABOUT,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", help="a command that the token may run")
    parser.add_argument("values", nargs="*", metavar="VALUE", help="a parameter, as above")
    parser.add_argument(
        "--on", action="append", metavar="HOST", help="a host, group:NAME or LABEL=VALUE; may be repeated"
    )
    _add_body(parser)
    _add_manner(parser)
    add_way(parser)
    parser.set_defaults(run=_run)


def _add_body(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stdin", metavar="FILE", help="give the command this file as stdin; '-' for our own")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="lower the time limit of the policy")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the audit log")
    parser.add_argument("--label", action="append", metavar="TEXT", help="a label kept with the job; may be repeated")
    parser.add_argument(
        "--idempotency-key", metavar="KEY", help="the same key and call never run twice [a new one each time]"
    )


def _add_manner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="with --json: one line of JSON an event, as it comes")
    parser.add_argument("--detach", action="store_true", help="do not wait: print the job's id")
    parser.add_argument("--wait", type=seconds, metavar="S", help="wait at most so long; the job goes on")
    parser.add_argument(
        "--cancel-on-interrupt",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the first Ctrl-C or SIGTERM cancels the job [yes]; the second always leaves at once",
    )
    parser.add_argument("--raw", action="store_true", help="send a terminal what the command prints, escapes and all")
    parser.add_argument(
        "--json", action="store_true", help="print the finished job as JSON, and nothing else on stdout"
    )


def _run(options: argparse.Namespace) -> int:
    from cmdhttp.cli.calls.running import run_command  # noqa: PLC0415 - other verbs need no HTTP client

    return run_command(options, os.environ)
