"""The list of programs: well-formed, large enough, read once, and known to lint alone."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import cmdhttp
from cmdhttp.policy.lint.known import FLAGS, OPTIONS, STRICT, UNKNOWN, WORDS, lookup, table
from cmdhttp.policy.lint.probes import PROBED

ENTRIES: dict[str, dict[str, Any]] = tomllib.loads(
    files("cmdhttp.policy.lint").joinpath("programs.toml").read_text(encoding="utf-8")
)
FAMILIES = STRICT | {
    *("scheduler", "container", "deployment", "archive", "files", "reader", "pager", "editor", "fetcher", "transfer"),
    *("network", "mail", "versions", "build", "packages", "system", "documents"),
}
KINDS = {"text", "code", "script", "load", "run", "packages", "program", "applet", "shell", *PROBED}


def test_every_entry_is_well_formed() -> None:
    """No key, family or kind of operand that lint does not know; every option once; every name once."""
    names: set[str] = set()
    for name, entry in ENTRIES.items():
        assert entry["family"] in FAMILIES, name
        assert entry["why"], name
        assert set(entry) <= {"family", "why", "hands_over", *OPTIONS, *FLAGS, *WORDS}, name
        assert set(entry.get("operands", ())) <= KINDS, name
        options = [option for kind in OPTIONS for option in entry.get(kind, ())]
        assert len(options) == len(set(options)), name
        assert set(entry.get("instead", ())) <= set(options), name
        assert names.isdisjoint({name, *entry.get("also", ())}), name
        names |= {name, *entry.get("also", ())}
    assert len(names) >= 500


def test_every_entry_says_something() -> None:
    """An entry that can cause no finding would only look like knowledge."""
    for name, entry in ENTRIES.items():
        risky = any(entry.get(kind) for kind in OPTIONS if kind != "values")
        operands = set(entry.get("operands", ())) - {"text"}
        assert risky or operands or entry.get("stdin") or entry.get("hands_over"), name


def test_the_file_is_read_once() -> None:
    """The second question gets the very same table."""
    assert table() is table()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/python3", "python"),
        ("/usr/bin/python3.12", "python"),
        ("/opt/php8.2", "php"),
        ("/usr/bin/gcc-12", "gcc"),
        ("/usr/bin/7z", "7z"),
        ("/usr/bin/base64", "base64"),
        ("/bin/dash", "sh"),
        ("/lib64/ld-linux-x86-64.so.2", "ld.so"),
        ("/opt/own-tool", ""),
        ("/opt/123", ""),
    ],
)
def test_a_version_does_not_hide_a_program(path: str, name: str) -> None:
    """Programs are known by the last part of their path, with or without a version."""
    assert lookup(path).name == name
    assert (lookup(path) is UNKNOWN) is (not name)


def test_nothing_but_lint_knows_the_programs() -> None:
    """The list is advice. Nothing that decides, plans or runs a call imports lint or names its data."""
    root = Path(cmdhttp.__file__).parent
    allowed = {root / "policy" / "load.py", root / "policy" / "permissions.py"}
    readers = {
        path
        for path in root.rglob("*.py")
        if path.parent.name != "lint" and any(word in path.read_text() for word in ("policy.lint", "programs.toml"))
    }
    assert readers <= allowed
    deciding = ("decide", "compiled", "compile", "template", "cases", "merge")
    assert all(name not in str(path.relative_to(root)) for path in readers for name in deciding)
