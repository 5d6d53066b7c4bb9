"""`python -m benchmarks [NAME ...]`: run the benchmarks of these names, or all, and print a table for each group.

A benchmark is a module here with `run(*, rounds, quick)`, which yields reports (see `measure.Report`); its name goes into
`BENCHMARKS`.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks import policy
from benchmarks.jobs import live
from benchmarks.jobs import run as jobs
from benchmarks.local import run as local
from benchmarks.local.servers import Missing
from benchmarks.measure import Report, machine
from benchmarks.ssh import run as ssh

BENCHMARKS: dict[str, Callable[..., Iterator[Report]]] = {
    "policy": policy.run,
    "jobs": jobs.run,
    **{f"jobs.{part}": partial(jobs.run, parts=(part,)) for part in jobs.PARTS},
    "live": live.run,
    **{f"jobs.{part}": partial(live.run, parts=(part,)) for part in live.PARTS},
    "local": local.run,
    **{f"local.{part}": partial(local.run, parts=(part,)) for part in local.PARTS},
    "ssh": ssh.run,
    **{f"ssh.{part}": partial(ssh.run, parts=(part,)) for part in ssh.PARTS},
}
_ALL = ("policy", "jobs", "live", "local", "ssh")
_ROUNDS = 7
_QUICK_ROUNDS = 1
_TERMINATED = 128 + signal.SIGTERM


def main() -> int:
    """Run what was asked for; returns 2 if something to measure is missing or fails, after what was found until then."""
    options = _options()
    # An exit stops the servers that were started; the signal alone would leave them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    found: dict[str, list[object]] = {}
    here = machine()
    if not options.json:
        where = "{python}, {system}, {processors} processors, load {load}".format_map(here)
        print(f"{where}; {options.rounds} rounds\n")
    failed = ""
    try:
        for name in options.names or _ALL:
            for report in BENCHMARKS[name](rounds=options.rounds, quick=options.quick):
                found.setdefault(name, []).append(report.document())
                print(report.text() + "\n", file=sys.stderr if options.json else sys.stdout, flush=True)
    except (Missing, RuntimeError, OSError) as error:
        failed = str(error) or repr(error)
        print(failed, file=sys.stderr)
    if options.json:
        document = {"machine": here, "rounds": options.rounds, "quick": options.quick, "benchmarks": found}
        print(json.dumps(document | ({"failed": failed} if failed else {}), indent=2))
    return 2 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, side by side with peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if left out")
    parser.add_argument(
        "--rounds", type=int, help=f"how often each is measured (default {_ROUNDS}; {_QUICK_ROUNDS} with --quick)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and one round: does it work, roughly how fast"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; the tables go to standard error")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    if options.rounds is None:
        options.rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
