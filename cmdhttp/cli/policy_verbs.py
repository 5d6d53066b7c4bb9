"""The verbs that ask a policy, as they are written on the command line."""

import argparse
import os
from pathlib import Path

from cmdhttp.settings import Settings, variable

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns
_FORMATTER = argparse.RawDescriptionHelpFormatter
_FOLDER = f"the policy folder [{variable('policies')}; {Settings().policies}]"
_WHEN = "a date or an instant, like 2026-12-24 or 2026-12-24T08:00:00Z [now]"

_EXPLAIN = """\
exit code:
  0  the call is allowed
  1  it is not: denied, invalid, or it needs an approval
  2  it cannot be told: the policy does not load, or this command line is wrong

example:
  cmdhttp explain service.restart unit=nginx --as ops --on web1 --at 2026-12-24
"""
_CAN = """\
exit code:
  0  something is allowed
  1  nothing is
  2  it cannot be told: the policy does not load, or a name is not known

examples:
  cmdhttp can --as ops              all that ops may do
  cmdhttp can --run service.restart who may run it
  cmdhttp can --on web1             what can happen to web1
"""
_DIFF = """\
exit code:
  0  nobody gains anything
  1  somebody does, or something changed of which that cannot be ruled out
  2  it cannot be told: one of the policies does not load

example, against the last commit:
  git worktree add /tmp/before HEAD
  cmdhttp diff /tmp/before/policies policies
"""


def add_policy_verbs(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Add `explain`, `can` and `diff`."""
    _add_explain(verbs)
    _add_can(verbs)
    _add_diff(verbs)


def _add_explain(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "explain",
        help="explain a decision",
        description="Show each step of the decision on a call with its place in the policy, what would have to change, and the\n"
        "exact argv. Nothing runs.",
        epilog=_EXPLAIN,
        formatter_class=_FORMATTER,
    )
    parser.add_argument("command", metavar="COMMAND", help="a command of the policy")
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="text; for a list, again; NAME:=JSON for JSON")
    parser.add_argument("--as", required=True, dest="principal", metavar="PRINCIPAL", help="who calls")
    parser.add_argument(
        "--on", dest="host", metavar="HOST", help="where [as in a call that names no host, or everywhere]"
    )
    _add_common(parser)
    parser.set_defaults(run=_explain)


def _add_can(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "can",
        help="show who may do what",
        description="Show the effective table: which role line gives whom which command where, with which values, and what\n"
        "denies take from it. At least one of --as, --run and --on; together they narrow.",
        epilog=_CAN,
        formatter_class=_FORMATTER,
    )
    parser.add_argument("--as", dest="principal", metavar="PRINCIPAL", help="what may it do")
    parser.add_argument("--run", dest="command", metavar="COMMAND", help="who may run it")
    parser.add_argument("--on", dest="host", metavar="HOST", help="what can happen to it")
    _add_common(parser)
    parser.set_defaults(run=_can)


def _add_diff(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "diff",
        help="show who gains and who loses what",
        description="Compare two policy folders: + is gained, - is lost, ~ is changed and counts as both.",
        epilog=_DIFF,
        formatter_class=_FORMATTER,
    )
    parser.add_argument("old", metavar="OLD", help="a policy folder")
    parser.add_argument("new", metavar="NEW", help="another")
    parser.add_argument("--at", metavar="WHEN", help=f"count what holds from then on: {_WHEN}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_diff)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at", metavar="WHEN", help=f"for which moment: {_WHEN}")
    parser.add_argument("--policies", metavar="DIR", help=_FOLDER)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _explain(options: argparse.Namespace) -> int:
    from cmdhttp.cli.asking import moment  # noqa: PLC0415 - `--help` needs no policy code
    from cmdhttp.cli.explain import Asked, run_explain  # noqa: PLC0415
    from cmdhttp.cli.inputs import policy_folder  # noqa: PLC0415

    asked = Asked(
        principal=options.principal,
        command=options.command,
        values=options.values,
        host=options.host,
        at=moment(options.at),
    )
    return run_explain(policy_folder(os.environ, options.policies), asked, as_json=options.json)


def _can(options: argparse.Namespace) -> int:
    from cmdhttp.cli.asking import moment  # noqa: PLC0415
    from cmdhttp.cli.can import run_can  # noqa: PLC0415
    from cmdhttp.cli.inputs import policy_folder  # noqa: PLC0415
    from cmdhttp.policy.review.table import Wanted  # noqa: PLC0415

    wanted = Wanted(principal=options.principal, command=options.command, host=options.host)
    return run_can(policy_folder(os.environ, options.policies), wanted, at=moment(options.at), as_json=options.json)


def _diff(options: argparse.Namespace) -> int:
    from cmdhttp.cli.asking import moment  # noqa: PLC0415
    from cmdhttp.cli.diff import run_diff  # noqa: PLC0415

    return run_diff(Path(options.old), Path(options.new), since=moment(options.at), as_json=options.json)
