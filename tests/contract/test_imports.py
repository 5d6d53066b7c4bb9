"""What a start does not import, so that it stays fast: each program is asked in a process of its own (decision 0023)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HTTP = {"starlette", "uvicorn", "httptools", "prometheus_client", "sqlite3"}
SSH = {"asyncssh", "cryptography", "cmdhttp.execution.ssh"}
POLICY = {"pydantic", "yaml", "re2", "cmdhttp.policy"}
LOOP = {"asyncio", "anyio"}

_IMPORTED = "import sys; {what}; print(*sys.modules)"
_AFTER_MAIN = "import sys; from cmdhttp.cli.main import main; code = main({arguments}); print(*sys.modules)"


def imported(code: str) -> set[str]:
    """The modules that are there after a piece of code has run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYDANTIC_")}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return set(ran.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("program", "without", "with_"),
    [
        ("cmdhttp.cli.serve", SSH, {"cmdhttp.server", "starlette"}),
        ("cmdhttp.broker.life", SSH | HTTP | LOOP | {"jc"}, {"cmdhttp.policy.decide"}),
        ("cmdhttp.execution.local.guard.main", SSH | HTTP | LOOP | POLICY | {"pathlib", "dataclasses"}, {"subprocess"}),
        ("cmdhttp.cli.main", SSH | HTTP | LOOP | POLICY, {"cmdhttp.cli.run"}),
    ],
)
def test_what_a_program_imports(program: str, without: set[str], with_: set[str]) -> None:
    """A start loads none of what only some of its calls need; what it does load shows that the look is not blind."""
    found = imported(_IMPORTED.format(what=f"import {program}"))
    assert found & without == set()
    assert found >= with_


@pytest.mark.parametrize("arguments", [["jobs", "list"], ["run", "a.command"]])
def test_what_a_client_imports(arguments: list[str]) -> None:
    """A verb that calls a service, here one that is not there, needs the standard library alone."""
    url = ["--url", "http://127.0.0.1:9"]
    found = imported(_AFTER_MAIN.format(arguments=[*arguments, *url]))
    assert found & (SSH | HTTP | LOOP | POLICY) == set()
    assert "cmdhttp.client.exchange" in found


def test_what_a_check_imports() -> None:
    """To check a policy takes no loop, no HTTP and no SSH."""
    found = imported(_AFTER_MAIN.format(arguments=["check", "policies"]))
    assert found & (SSH | HTTP | LOOP) == set()
    assert "cmdhttp.policy.lint" in found


def test_a_plugin_of_pydantic_is_not_loaded(tmp_path: Path) -> None:
    """A package that is installed beside and would take part in every validation is not even imported."""
    (tmp_path / "nosy.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "nosy-1.dist-info").mkdir()
    (tmp_path / "nosy-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: nosy\nVersion: 1\n")
    (tmp_path / "nosy-1.dist-info" / "entry_points.txt").write_text("[pydantic]\nnosy = nosy:plugin\n")
    beside = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    with pytest.raises(subprocess.CalledProcessError, match="status 1"):
        imported(f"{beside}; import pydantic; pydantic.create_model('Plain'); print()")
    assert "nosy" not in imported(f"{beside}; import cmdhttp.policy.load; print(*sys.modules)")
