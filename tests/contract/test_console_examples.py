"""What a page shows of the command line is what the command line prints.

A block with the info string `console` holds command lines after `$ ` and what each prints, stdout and stderr together. All
blocks of a page run in one folder that begins with a copy of `policies/`. A block `yaml file=NAME` is written to that file
first. A line `...` stands for any lines. Beside `cmdhttp` there are `echo $?`, `cp -r FROM TO` and `rm NAME`.
"""

import io
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cmdhttp.cli.main import main
from cmdhttp.settings import SETTINGS, variable

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
ANYTHING = "..."

_BLOCK = re.compile(r"^```(console|yaml file=(\S+))\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[re.Match[str]]:
    return list(_BLOCK.finditer(page.read_text()))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command line of a block, with the lines that it must print."""
    for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, *printed = text.replace("\\\n", "").splitlines()
        yield line, printed


def as_shown(printed: str, expected: list[str]) -> bool:
    """Whether the text is what a page shows; `...` stands for any lines."""
    parts = [".*" if line == ANYTHING else re.escape(line) + "\n" for line in expected]
    return re.fullmatch("".join(parts), printed, re.DOTALL) is not None


@dataclass
class Console:
    """Runs the few commands that pages use, in the working folder, and remembers how the last one ended."""

    code: int = field(default=0)

    def run(self, line: str) -> str:
        match shlex.split(line):
            case ["cmdhttp", *arguments]:
                return self._cmdhttp(arguments)
            case ["echo", "$?"]:
                return f"{self.code}\n"
            case ["cp", "-r", source, target]:
                shutil.copytree(source, target)
            case ["rm", name]:
                Path(name).unlink()
            case _:
                pytest.fail(f"examples cannot run this: {line}")
        self.code = 0
        return ""

    def _cmdhttp(self, arguments: list[str]) -> str:
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            try:
                self.code = main(arguments)
            except SystemExit as ended:
                self.code = int(ended.code or 0)
        return printed.getvalue()


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Console:
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in SETTINGS:
        monkeypatch.delenv(variable(name), raising=False)
    return Console()


def put(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name_of)
def test_examples_print_what_the_page_shows(page: Path, console: Console) -> None:
    """Every example of a page, run in the order of the page, prints exactly what stands below it."""
    for block in examples(page):
        if block[2]:
            put(block[2], block[3])
            continue
        for line, expected in commands(block[3]):
            printed = console.run(line)
            assert as_shown(printed, expected), f"{line}\nprinted:\n{printed}"


def test_a_wrong_example_is_noticed() -> None:
    """A line too many, too few or other is no match; `...` matches lines and never part of one."""
    assert as_shown("a\nb\nc\n", ["a", ANYTHING, "c"])
    assert as_shown("a\n", ["a", ANYTHING])
    wrong = [["a"], ["a", "b", "c", "d"], ["a", "b", "x"], ["a", ANYTHING, "b"], []]
    assert not any(as_shown("a\nb\nc\n", expected) for expected in wrong)


def test_continued_lines_are_one_command() -> None:
    """A command line may go on after a backslash; only `$ ` at the start of a line begins another."""
    assert list(commands("$ a b \\\nc\nout $ put\n$ d\n")) == [("a b c", ["out $ put"]), ("d", [])]
