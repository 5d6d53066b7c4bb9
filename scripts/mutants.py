"""Read what mutmut left in `mutants/` and say it so that a person can act: a table of modules, then each survivor.

The law: in the modules of the deny path no mutant survives, except those that `tests/mutants-accepted.txt` names with a
reason. The exit code is 1 if one does, if one was not tried, or if a line of that file names no survivor any more. Elsewhere a
survivor is shown and does not fail. Arguments are the patterns that mutmut was run with, like `cmdhttp.policy.decide.*`.
"""

import ast
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ACCEPTED = ROOT / "tests" / "mutants-accepted.txt"
DENY_PATH = frozenset(
    f"cmdhttp/{name}.py"
    for name in (
        "auth/principal",
        "auth/tokens",
        "plan/argv",
        "plan/build",
        "policy/cases",
        "policy/compile/access",
        "policy/compile/narrowings",
        "policy/compile/selectors",
        "policy/compiled",
        "policy/decide",
        "policy/params/narrowing",
        "policy/select",
        "policy/template",
    )
)
KILLED = frozenset({1, 3, 24, 36, 152, 255, -24})
"""The exit codes of a run in which a test failed, pytest broke, or the time was up."""

_CLICK = "\N{LATIN LETTER LATERAL CLICK}"
"""What mutmut puts between the names of a class and its method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one function. `line` counts from 1 in the file as it is; `fate` is killed, survived or untried."""

    file: str
    line: int
    function: str
    was: str
    becomes: str
    fate: str

    @property
    def key(self) -> str:
        return f"{self.file} {self.function}: {self.was} --> {self.becomes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """The lines of a function as they stand in a file, from line `start` on."""

    start: int
    lines: tuple[str, ...]


def read_mutants(patterns: list[str]) -> Iterator[Mutant]:
    """Yield every mutant that one of the patterns names; no pattern names all."""
    for meta in sorted((ROOT / "mutants").rglob("*.py.meta")):
        file = meta.relative_to(ROOT / "mutants").as_posix().removesuffix(".meta")
        source, mutated = _functions(ROOT / file), _functions(ROOT / "mutants" / file)
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            if not patterns or any(fnmatch(name, pattern) for pattern in patterns):
                fate = "untried" if code is None else "killed" if code in KILLED else "survived"
                yield _mutant(file, name.rpartition(".")[2], fate, source, mutated)


def _functions(path: Path) -> dict[str, Function]:
    """Every function and method, by the name that mutmut gives it."""
    text = path.read_text()
    found: dict[str, Function] = {}
    for node in ast.parse(text).body:
        prefix = f"x{_CLICK}{node.name}{_CLICK}" if isinstance(node, ast.ClassDef) else "x_"
        for item in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(item, ast.FunctionDef):
                name = item.name if "__mutmut_" in item.name else prefix + item.name
                lines = text.splitlines()[item.lineno - 1 : item.end_lineno]
                found[name] = Function(
                    start=item.lineno, lines=tuple(line.replace(item.name, "...", 1) for line in lines)
                )
    return found


def _mutant(file: str, name: str, fate: str, source: dict[str, Function], mutated: dict[str, Function]) -> Mutant:
    function = name.rpartition("__mutmut_")[0]
    old, new = mutated[f"{function}__mutmut_orig"].lines, mutated[name].lines
    steps = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [step for step in steps if step[0] != "equal"]
    (_, first, _, new_first, _), (_, _, last, _, new_last) = changed[0], changed[-1]
    return Mutant(
        file=file,
        line=source[function].start + first,
        function=function.removeprefix("x_").removeprefix(f"x{_CLICK}").replace(_CLICK, "."),
        was=_one_line(old[first:last]),
        becomes=_one_line(new[new_first:new_last]),
        fate=fate,
    )


def _one_line(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines) or "(nothing)"


def read_accepted() -> dict[str, str]:
    """Return the reason for each mutant that may live, by its key."""
    lines = [line for line in ACCEPTED.read_text().splitlines() if line and not line.startswith("#")]
    return {key: reason for key, _, reason in (line.partition("  # ") for line in lines)}


def main(patterns: list[str]) -> int:
    mutants, accepted = list(read_mutants(patterns)), read_accepted()
    alive = [mutant for mutant in mutants if mutant.fate != "killed"]
    for file in sorted({mutant.file for mutant in mutants}):
        fates = Counter(mutant.fate for mutant in mutants if mutant.file == file)
        print(f"{file:45} {fates.total():5} mutants {fates['survived']:4} survived {fates['untried']:4} untried")
    for mutant in sorted(alive, key=lambda mutant: (mutant.file, mutant.line)):
        if mutant.fate == "untried":
            continue
        note = f"accepted: {accepted[mutant.key]}" if mutant.key in accepted else "survived"
        print(f"\n{mutant.file}:{mutant.line}: {mutant.function}: {note}\n  - {mutant.was}\n  + {mutant.becomes}")
    wrong = [mutant for mutant in alive if mutant.file in DENY_PATH and mutant.key not in accepted]
    stale = [] if patterns else sorted(accepted.keys() - {mutant.key for mutant in alive})
    for key in stale:
        print(f"\n{ACCEPTED.name}: no such survivor any more, remove the line:\n  {key}")
    killed = len(mutants) - len(alive)
    print(f"\n{killed} of {len(mutants)} killed; on the deny path {len(wrong)} live that may not")
    return 1 if wrong or stale or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
