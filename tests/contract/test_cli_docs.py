"""The page of the command line and the help of the verbs that call a service say the same."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmdhttp.cli.calls.ends import EPILOG, Exit
from cmdhttp.cli.calls.way import add_way
from cmdhttp.cli.main import _parser

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
COMMON = "Calling a service"
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def section(title: str) -> str:
    """The text under the heading that begins so, up to the next of its level."""
    found = re.search(rf"^## {re.escape(title)}\b.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section '{title}'"
    return found[0]


def parsers(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield name, parser
    for action in below:
        for verb, each in action.choices.items():
            yield from parsers(each, f"{name} {verb}")


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")} - {"--help"}


def common_flags() -> set[str]:
    parser = argparse.ArgumentParser()
    add_way(parser)
    return flags(parser)


CALLING = {
    name: parser
    for name, parser in parsers(_parser(), "cmdhttp")
    if re.match(r"cmdhttp (run|jobs)\b", name) and "--url" in flags(parser)
}


def test_the_verbs_that_call() -> None:
    """They are those that this test is about."""
    assert {name.partition(" ")[2] for name in CALLING} == {
        "run",
        *(f"jobs {verb}" for verb in ("list", "show", "follow", "output", "fetch", "cancel")),
    }


@pytest.mark.parametrize("name", CALLING)
def test_flags_are_documented(name: str) -> None:
    """Every flag of a verb stands in its section, and every flag in the section is one of the verb."""
    assert set(_FLAG.findall(section(name))) == flags(CALLING[name]) - common_flags()


def test_common_flags_and_variables_are_documented() -> None:
    """The flags of the way to the service, with their variables as the help names them."""
    rows = dict(re.findall(r"^\| (--[a-z-]+) \| (\w*) ?\|", section(COMMON), re.MULTILINE))
    assert set(rows) == common_flags()
    text = " ".join(CALLING["cmdhttp run"].format_help().split())
    for flag, variable in rows.items():
        assert variable in text, flag


def test_exit_codes_are_documented() -> None:
    """Every exit code of ours has a row and a line in the help."""
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", section(COMMON), re.MULTILINE)}
    assert rows == {2, *(code.value for code in Exit)}
    assert {int(code) for code in re.findall(r"^  (\d+)  ", EPILOG, re.MULTILINE)} == {code.value for code in Exit}
