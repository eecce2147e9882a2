"""pave stands alone: with `pave_world` taken out of a copy, tests of the other rooms still pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORLD = "pave_world"
# Those whose data sets once were clips of the world, and some that are quick.
ROOMS = (
    "tests/cache/test_token_cache.py",
    "tests/channels/test_registry.py",
    "tests/metrics/test_choice.py",
    "tests/paper/test_prepare.py",
    "tests/tasks/test_all_tasks.py",
    "tests/test_registry.py",
)
# An installed pave puts its own `src` on the path, and with it the `pave_world` beside it.
HIDE = """
import sys
from pathlib import Path

sys.path[:] = [place for place in sys.path if not (Path(place) / "pave_world").is_dir()]
"""


def test_only_its_own_room_imports_the_world() -> None:
    imports = re.compile(rf"^ *(from|import) {WORLD}\b", re.MULTILINE)
    found = set()
    for file in (ROOT / "tests").rglob("*.py"):
        if imports.search(file.read_text("utf-8")):
            found.add(file.parent.name)
    assert found <= {WORLD}  # none at all in a copy without it


@pytest.mark.slow
def test_other_rooms_pass_without_the_world(tmp_path: Path) -> None:
    for part in ("src", "tests", "benchmarks", "docs"):
        unwanted = shutil.ignore_patterns(WORLD, "__pycache__", "*.egg-info")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=unwanted)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    hide = tmp_path / "hide"
    hide.mkdir()
    # Python runs this in every process, those that the tests start included.
    (hide / "sitecustomize.py").write_text(HIDE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(hide)])}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )

    gone = python("-c", f"import pave; print(pave.__file__); import {WORLD}")
    assert str(tmp_path) in gone.stdout
    assert f"No module named '{WORLD}'" in gone.stderr
    done = python("-m", "pytest", "-q", "-n", "0", "-m", "not slow", *ROOMS)
    assert done.returncode == 0, done.stdout[-3000:]
