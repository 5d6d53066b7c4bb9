"""`python -m benchmarks [NAME ...]`: run the benchmarks of these names, or all, and print a table for each group.

A benchmark is a module here with `run(*, rounds)`, which yields `measure.Group`s; its name goes into `BENCHMARKS`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator

from benchmarks import policy
from benchmarks.measure import Group, document, machine, table

BENCHMARKS: dict[str, Callable[..., Iterator[Group]]] = {"policy": policy.run}
_ROUNDS = 7


def main() -> int:
    """Run what was asked for."""
    options = _options()
    found: dict[str, list[object]] = {}
    if not options.json:
        print(", ".join(str(value) for value in machine().values()) + f" processors; {options.rounds} rounds\n")
    for name in options.names or BENCHMARKS:
        for group in BENCHMARKS[name](rounds=options.rounds):
            found.setdefault(name, []).append(document(group))
            print(table(group) + "\n", file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps({"machine": machine(), "rounds": options.rounds, "benchmarks": found}, indent=2))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, side by side with peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if left out")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"how often each is measured (default {_ROUNDS})")
    parser.add_argument("--json", action="store_true", help="print JSON; the tables go to standard error")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
