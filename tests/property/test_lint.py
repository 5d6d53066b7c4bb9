"""Whatever a policy's author writes after a program that lint knows, lint says something or nothing, and never raises."""

import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cmdhttp.policy.compile import Folders, compile_all
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import Severity
from cmdhttp.policy.lint import lint
from cmdhttp.policy.lint.known import table
from cmdhttp.policy.merge import collect

NOWHERE = Folders(policies=Path("/nowhere"), secrets=Path("/nowhere"))
PARAMS = {
    "text": {"type": "string", "pattern": "-?[a-z /@=:.]{0,20}", "leading_dash": "true"},
    "path": {"type": "path"},
    "url": {"type": "url"},
    "name": {"type": "filename"},
    "n": {"type": "int", "min": "-9", "leading_dash": "true"},
    "choice": {"type": "enum", "values": ["a", "/bin/sh"]},
    "flag": {"type": "bool", "flag": "-x"},
    "many": {"type": "list", "of": {"type": "hostname"}},
}
PROGRAMS = sorted(table())
OPTIONS = sorted({option for program in table().values() for option in program.options})
CONSTANTS = [
    "--",
    "-",
    "+",
    ";",
    "=",
    "-x",
    "-abc",
    "--long",
    "--long=x",
    "A=b",
    "exec",
    "run",
    "install",
    "/opt/x",
    "x",
]

words = st.one_of(
    st.sampled_from(CONSTANTS),
    st.sampled_from(OPTIONS),
    st.sampled_from([f"<{name}>" for name in PARAMS if name != "many"]),
    st.just("<many...>"),
    st.builds(
        "{}{}<{}>{}".format,
        st.sampled_from(["", *OPTIONS]),
        st.sampled_from(["", "=", "/", "@", "https://", "/srv/"]),
        st.sampled_from(["text", "path", "name", "choice"]),
        st.sampled_from(["", ".log", "<n>"]),
    ),
    st.sampled_from(PROGRAMS).map("/usr/bin/{}".format),
)
runs = st.builds(
    lambda program, rest: [f"/usr/bin/{program}", *rest],
    st.sampled_from(PROGRAMS),
    st.lists(st.one_of(words, words.filter(lambda word: "<" in word).map(lambda word: [word])), max_size=8),
)


@given(runs=st.lists(runs, min_size=1, max_size=4), stdin=st.booleans())
def test_lint_never_raises(runs: list[list[object]], *, stdin: bool) -> None:
    """Any run list of known programs, their options and parameters of every kind."""
    command = {"params": PARAMS, "on": "local", **({"stdin": {}} if stdin else {})}
    commands = {f"c{number}": {"run": run, **command} for number, run in enumerate(runs)}
    text = json.dumps({"version": "1", "commands": commands})  # which is YAML too
    merged = collect([SourceFile(path="a.yaml", data=text.encode())])
    compiled = compile_all(merged, folders=NOWHERE, digest="")
    assert [finding for finding in (*merged.findings, *compiled.findings) if finding.severity is Severity.ERROR] == []
    found = lint(compiled.policy, merged, now=datetime(2026, 11, 2, tzinfo=UTC))
    assert found == sorted(found, key=lambda finding: (finding.at, finding.code, finding.message))
