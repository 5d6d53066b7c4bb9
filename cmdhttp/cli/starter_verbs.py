"""The verbs that begin a policy, as they are written on the command line."""

import argparse
import os
from datetime import UTC, datetime

from cmdhttp.settings import Settings, variable

_FORMATTER = argparse.RawDescriptionHelpFormatter

_INIT = """\
exit code:
  0  the folder is there
  2  it cannot be made, or it is there already and not empty; then nothing was changed

example:
  cmdhttp init policies
"""
_SCHEMA = """\
exit code:
  0  always

example, for editors with yaml-language-server:
  cmdhttp schema > policies/.schema.json

and as the first line of each policy file:
  # yaml-language-server: $schema=.schema.json
"""


def add_starter_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `init` and `schema`."""
    init = verbs.add_parser(
        "init",
        help="write a first policy",
        description="Write a commented policy that works at once on this machine and passes 'cmdhttp check --strict',\n"
        "with a token that is shown once.",
        epilog=_INIT,
        formatter_class=_FORMATTER,
    )
    folder = f"the folder to make [{variable('policies')}; {Settings().policies}]"
    init.add_argument("folder", nargs="?", metavar="DIR", help=folder)
    init.set_defaults(run=_init)
    schema = verbs.add_parser(
        "schema",
        help="print the JSON Schema of a policy file",
        description="Print the JSON Schema (2020-12) of one policy file, for completion, tooltips and checks in an editor.",
        epilog=_SCHEMA,
        formatter_class=_FORMATTER,
    )
    schema.set_defaults(run=_schema)


def _init(options: argparse.Namespace) -> int:
    from cmdhttp.cli.inputs import policy_folder  # noqa: PLC0415 - other verbs need none of this
    from cmdhttp.cli.starter import run_init  # noqa: PLC0415

    return run_init(policy_folder(os.environ, options.folder), now=datetime.now(tz=UTC))


def _schema(_options: argparse.Namespace) -> int:
    from cmdhttp.cli.starter import schema_text  # noqa: PLC0415

    print(schema_text(), end="")
    return 0
