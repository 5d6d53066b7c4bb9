"""The command line as a person runs it: arguments and variables in; exit code and both streams out.

`serve` runs as a process, since it changes the process that it runs in. The other verbs run in this one, through the same
`main`, which saves a second for each; the first call of a run is a process too, so that the real entry point is never left out.
"""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from cmdhttp.cli.main import main

_WAIT = 20
_seen: set[str] = set()


def cmdhttp(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one command line with these variables and no others."""
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "120", **environ}
    verb = arguments[0] if arguments else ""
    if verb == "serve" or verb not in _seen:
        _seen.add(verb)
        argv = [sys.executable, "-W", "error", "-m", "cmdhttp.cli.main", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=_WAIT, check=False, env=environment)
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, environment, clear=True), redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess([*arguments], code, out.getvalue(), err.getvalue())
