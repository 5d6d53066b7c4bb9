"""The verbs about SSH hosts, as they are written on the command line."""

import argparse
import os

from cmdhttp.settings import Settings, variable

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns
_FORMATTER = argparse.RawDescriptionHelpFormatter
_FOLDER = f"the policy folder [{variable('policies')}; {Settings().policies}]"
_SECONDS = 10.0

_SCAN = """\
exit code:
  0  every key that a host shows is recorded and matches
  1  a key is new, changed, revoked, gone, or its certificate does not hold
  2  a host could not be scanned, or the policy does not load

example:
  cmdhttp hosts scan web1
"""
_SETUP = """\
exit code:
  0  it has been printed
  2  it cannot be told: the policy does not load, or a name is not known

example:
  cmdhttp hosts setup web1 > web1.sh
"""


def add_host_verbs(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Add `hosts scan` and `hosts setup`."""
    parser = verbs.add_parser(
        "hosts", help="prepare SSH hosts", description="See which keys hosts show, and prepare them."
    )
    below = parser.add_subparsers(required=True, metavar="scan|setup")
    scan = below.add_parser(
        "scan",
        help="show the keys of hosts, to be confirmed",
        description="Fetch every key that the hosts show, and print its fingerprint, what is recorded of it today, and the line\n"
        "to record it. Nothing is recorded or trusted, and nobody logs in, but at jump hosts, which must be recorded.",
        epilog=_SCAN,
        formatter_class=_FORMATTER,
    )
    _add_common(scan)
    scan.add_argument(
        "--timeout", type=float, default=_SECONDS, metavar="S", help=f"seconds for each host [{_SECONDS:g}]"
    )
    scan.set_defaults(run=_scan)
    setup = below.add_parser(
        "setup",
        help="print what hosts need",
        description="Print the accounts, keys, sshd and sudo lines that the commands of the policy need on the hosts, as a\n"
        "shell script to read first. Nothing is changed, and no private key is shown.",
        epilog=_SETUP,
        formatter_class=_FORMATTER,
    )
    _add_common(setup)
    setup.set_defaults(run=_setup)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="a host of the policy")
    parser.add_argument("--policies", metavar="DIR", help=_FOLDER)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _scan(options: argparse.Namespace) -> int:
    from cmdhttp.cli.hosts.scan import run_scan  # noqa: PLC0415 - `--help` needs no SSH
    from cmdhttp.cli.inputs import policy_folder  # noqa: PLC0415

    folder = policy_folder(os.environ, options.policies)
    return run_scan(folder, options.names, within=options.timeout, as_json=options.json)


def _setup(options: argparse.Namespace) -> int:
    from cmdhttp.cli.hosts.setup import run_setup  # noqa: PLC0415
    from cmdhttp.cli.inputs import policy_folder  # noqa: PLC0415

    return run_setup(policy_folder(os.environ, options.policies), options.names, as_json=options.json)
