"""`cmdhttp jobs`: its verbs, one module each.

A verb adds its own parser to the ones below `jobs` and sets `run` on it, a function of the options that returns the exit
code. What it does then is imported when it runs. A verb need not call the service: whether it does is said in its help.
"""

import argparse
from typing import TYPE_CHECKING

from cmdhttp.cli.jobs.cancel import add_cancel
from cmdhttp.cli.jobs.fetch import add_fetch
from cmdhttp.cli.jobs.follow import add_follow
from cmdhttp.cli.jobs.listing import add_list
from cmdhttp.cli.jobs.output import add_output
from cmdhttp.cli.jobs.prune import add_prune
from cmdhttp.cli.jobs.show import add_show

if TYPE_CHECKING:
    from collections.abc import Callable

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns

JOB_VERBS: "tuple[Callable[[Verbs[argparse.ArgumentParser]], None], ...]" = (
    add_list,
    add_show,
    add_follow,
    add_output,
    add_fetch,
    add_cancel,
    add_prune,
)


def add_job_verbs(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Add `jobs` and all that is below it."""
    parser = verbs.add_parser("jobs", help="look at jobs, and end them", description="Look at jobs, and end them.")
    below = parser.add_subparsers(required=True, metavar="VERB", title="verbs")
    for add in JOB_VERBS:
        add(below)
