"""What the policy verbs need beside a folder, from the same variables that `serve` reads."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.load import Inputs
from cmdhttp.results.library import KnownParsers, find_library
from cmdhttp.settings import Settings, read_interpreters, variable


def policy_folder(environ: Mapping[str, str], given: str | None) -> Path:
    """The folder of the command line, else of CMDHTTP_POLICIES, else the default."""
    return Path(given or environ.get(variable("policies")) or Settings().policies)


def policy_inputs(environ: Mapping[str, str]) -> Inputs:
    """Inputs for a load outside the service. The secrets folder is looked at only if CMDHTTP_SECRETS names it."""
    secrets = environ.get(variable("secrets"))
    name = variable("interpreters")
    parsers = KnownParsers(find_library())
    return Inputs(
        resolve=resolve_argv,
        now=datetime.now(tz=UTC),
        secrets=Path(secrets) if secrets else None,
        interpreters=read_interpreters(environ.get(name, ""), origin=name),
        parsers=parsers,
        more_parsers=parsers.more,
    )
