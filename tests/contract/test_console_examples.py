"""What a page shows of the command line is what the command line prints.

A block with the info string `console` holds command lines after `$ ` and what each prints, stdout and stderr together. All
blocks of a page run in one folder that begins with a copy of `policies/`. A block `yaml file=NAME` is written to that file
first. A line `...` stands for any lines. Beside `cmdhttp` there are `echo $?`, `cp -r FROM TO` and `rm NAME`. A command line
that does not end with 0 is followed by `echo $?`, so that no `...` hides a failure.
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
SHOW_CODE = "echo $?"

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


def hides_failure(code: int, following: str) -> bool:
    """Whether a command line ended otherwise than with 0 and the next one does not show that."""
    return code != 0 and following != SHOW_CODE


@dataclass
class Console:
    """Runs the few commands that pages use, in the working folder, and remembers how the last one ended."""

    code: int = field(default=0)

    def run(self, line: str) -> str:
        match shlex.split(line):
            case ["cmdhttp", *arguments]:
                return self._cmdhttp(arguments)
            case ["echo", "$?"]:
                shown, self.code = self.code, 0
                return f"{shown}\n"
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
        listed = list(commands(block[3]))
        for (line, expected), (following, _) in zip(listed, [*listed[1:], ("", [])], strict=True):
            printed = console.run(line)
            assert as_shown(printed, expected), f"{line}\nprinted:\n{printed}"
            assert not hides_failure(console.code, following), (
                f"{line}\nended with {console.code}; show it: {SHOW_CODE}"
            )


def test_a_wrong_example_is_noticed() -> None:
    """A line too many, too few or other is no match; `...` matches lines and never part of one."""
    assert as_shown("a\nb\nc\n", ["a", ANYTHING, "c"])
    assert as_shown("a\n", ["a", ANYTHING])
    wrong = [["a"], ["a", "b", "c", "d"], ["a", "b", "x"], ["a", ANYTHING, "b"], []]
    assert not any(as_shown("a\nb\nc\n", expected) for expected in wrong)


def test_a_hidden_failure_is_noticed() -> None:
    """What ends with 1 must be followed by a look at the exit code; what ends with 0 need not."""
    assert hides_failure(1, "")
    assert hides_failure(2, "cmdhttp test acme")
    assert not hides_failure(1, SHOW_CODE)
    assert not hides_failure(0, "")


def test_continued_lines_are_one_command() -> None:
    """A command line may go on after a backslash; only `$ ` at the start of a line begins another."""
    assert list(commands("$ a b \\\nc\nout $ put\n$ d\n")) == [("a b c", ["out $ put"]), ("d", [])]
