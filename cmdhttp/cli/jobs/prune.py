"""`cmdhttp jobs prune`, as it is written on the command line."""

import argparse
import os

from cmdhttp.settings import Settings, variable

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns

_EPILOG = """\
Without a limit of its own it takes those of the service: CMDHTTP_KEEP_DAYS, CMDHTTP_KEEP_JOBS and CMDHTTP_KEEP_BYTES, or what
they are by default. With one or more, these alone count. Jobs that have not ended are never touched, nor is a job of the last
24 hours whose call had an idempotency key: of that the output goes, and what is known of its end stays.

exit code:
  0  it is done, or --dry-run has told
  2  it cannot be done: a service uses the folder, it cannot be read or written, or a limit makes no sense

examples:
  cmdhttp jobs prune --data /var/lib/cmdhttp --older-than 7d --dry-run
  cmdhttp jobs prune --data /var/lib/cmdhttp --keep-bytes 5GiB
"""


def add_prune(below: "Verbs[argparse.ArgumentParser]") -> None:
    """Add `prune` to the verbs below `jobs`."""
    parser = below.add_parser(
        "prune",
        help="remove old finished jobs from a data folder (works on the folder itself, not over HTTP)",
        description="Remove finished jobs with their output and artefacts, the oldest end first, until what is left is\n"
        "within the limits. It works on the data folder of a service that is stopped; with --dry-run also while it runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", help=f"the data folder [{variable('data')}; {Settings().data}]")
    parser.add_argument("--older-than", metavar="SPAN", help="remove what ended before that, like 7d or 12h")
    parser.add_argument("--keep-jobs", type=int, metavar="N", help="keep the newest N finished jobs")
    parser.add_argument(
        "--keep-bytes", metavar="SIZE", help="keep what fits: output, artefacts and database together, like 5GiB"
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, and say what would go")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_prune)


def _prune(options: argparse.Namespace) -> int:
    from cmdhttp.cli.prune import Wanted, run_prune  # noqa: PLC0415 - `--help` needs no database

    wanted = Wanted(
        data=options.data,
        older_than=options.older_than,
        keep_jobs=options.keep_jobs,
        keep_bytes=options.keep_bytes,
        dry_run=options.dry_run,
        as_json=options.json,
    )
    return run_prune(os.environ, wanted)
