"""What the package ships beside its code."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_the_data_files(tmp_path: Path) -> None:
    """Everything in the package's folders that is no code is in the wheel too."""
    build = [sys.executable, "-m", "flit_core.wheel", "--outdir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, timeout=15, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    kept = {path for path in (ROOT / "cmdhttp").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    wanted = {path.relative_to(ROOT).as_posix() for path in kept}
    assert {f"cmdhttp/policy/starter/{name}.yaml" for name in ("access", "commands", "hosts")} <= wanted
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
