"""The argv that starts a guard on a host, for the one transport to spell.

A guard begins its output with a token that nobody knew before, and one letter that says what it is: all that a login shell
prints ahead of it is dropped. `P`: frames of the guard in Python follow. `R`: the process id of the guard in sh follows, and
then what the command writes. `N`: there is no Python, and the words of the probe follow, each with a NUL behind it.
"""

import ast
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

WITH_FOLDER, WITH_STDIN = 1, 2
SILENCE = 25
"""Seconds after which a guard that has heard nothing from the service ends all that it has started."""

_PARTS = ("processes", "messages", "warden", "folders", "connection", "guard")
_UNPACK = "import zlib,binascii;exec(zlib.decompress(binascii.unhexlify('{}')))"
"""In hex, which leaves letters over: where every letter is used, each argument of the line costs the host a process."""
_NO_PYTHON = 't=$1; shift 3; printf "%sN\\n" "$t"; printf "%s\\0" "$@"'


def resident(token: str, probe: Sequence[str]) -> tuple[str, ...]:
    """A guard that takes orders for as long as its channel is there; without Python, the echo of `probe` and an end."""
    find = f"{_text('find.sh')}\n{_NO_PYTHON}"
    return ("/bin/sh", "-c", find, _python(), token, str(SILENCE), str(len(probe)), *probe)


def single(
    token: str,
    probe: Sequence[str],
    argv: Sequence[str],
    *,
    seconds: float,
    with_files: bool = False,
    with_stdin: bool = False,
) -> tuple[str, ...]:
    """A guard that can run nothing but `argv`, once, with stdin or not; without Python, the same by the guard in sh.

    `with_files`: in `argv` the token stands for the folder that the guard makes. Without Python there is then no run.
    """
    whole = str(int(seconds) + 1)
    mute = "" if with_stdin else "exec </dev/null\n"
    rest = f't=$1\nshift {5 + len(probe)}\n{mute}set -- "$t" {whole} "$@"\n{_text("guard.sh")}'
    find = f"{_text('find.sh')}\n{_NO_PYTHON if with_files else rest}"
    fixed = (str(seconds), str(with_files * WITH_FOLDER | with_stdin * WITH_STDIN), *argv)
    return ("/bin/sh", "-c", find, _python(), token, str(SILENCE), str(len(probe)), *probe, *fixed)


def without_python(token: str, argv: Sequence[str], *, seconds: float) -> tuple[str, ...]:
    """The guard in sh, for `argv`."""
    return ("/bin/sh", "-c", _text("guard.sh"), "guard", token, str(int(seconds) + 1), *argv)


def keeper(token: str, *, name: str, seconds: float) -> tuple[str, ...]:
    """What makes a private folder of this name without Python, and removes it when its stdin ends."""
    return ("/bin/sh", "-c", _text("keeper.sh"), "keeper", token, str(int(seconds) + 1), name)


def within(folder: str, argv: Sequence[str]) -> tuple[str, ...]:
    """What runs `argv` in a folder."""
    return ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", folder, *argv)


def signal(name: str, pid: int) -> tuple[str, ...]:
    """What sends a signal to a guard in sh."""
    return ("/bin/sh", "-c", 'kill -s "$1" "$2"', "sh", name, str(pid))


@cache
def _text(name: str) -> str:
    lines = resources.files(__package__).joinpath(name).read_text().splitlines()
    return "\n".join(line.strip() for line in lines if not line.startswith("#"))


@cache
def _python() -> str:
    """The guard in Python as one short line: no comments, docstrings or annotations, packed."""
    packed = zlib.compress(re.sub(r"(?m)^( +)", _tabs, guard_text()).encode(), 9)
    return _UNPACK.format(packed.hex())


def guard_text() -> str:
    """The program of the guard in Python: its modules, one behind the other."""
    texts = (resources.files(__package__).joinpath(f"{name}.py").read_text() for name in _PARTS)
    return "\n".join(ast.unparse(_Bare().visit(ast.parse(text))) for text in texts)


def _tabs(indent: re.Match[str]) -> str:
    return "\t" * (len(indent[1]) // 4)


class _Bare(ast.NodeTransformer):
    """Takes out what a host has no use for, and what an old Python might not evaluate."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_text(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_text(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        return self._without_text(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if str(node.module).startswith(str(__package__)) else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """What is for the type checker alone."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        self.generic_visit(node)
        return node

    def _without_text(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
        return node


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)
