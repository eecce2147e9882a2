"""Small inputs on which pave was once wrong, kept outside the repository: each has its own check.

A folder holds a `check.sh` that ends with 0 when pave is right. They lie in `../shared/cases`, or
where PAVE_CASES says; without them there is nothing to do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CASES = Path(os.environ.get("PAVE_CASES") or ROOT.parent / "shared" / "cases")
SECONDS = 300

FOUND = [path.parent for room in ("media", "attack") for path in CASES.glob(f"{room}/*/check.sh")]


@pytest.mark.slow
@pytest.mark.skipif(not FOUND, reason="no folder of cases; see PAVE_CASES")
@pytest.mark.parametrize("folder", sorted(FOUND), ids=lambda folder: folder.name)
def test_case(folder: Path) -> None:
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src")}
    env |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}  # the folder stays as it is
    done = subprocess.Popen(
        ["bash", str(folder / "check.sh")],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = done.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, signal.SIGKILL)  # what it started too
        said, _ = done.communicate()
        pytest.fail(f"no end after {SECONDS} s\n{said.decode(errors='replace')[-3000:]}")
    assert done.returncode == 0, said.decode(errors="replace")[-3000:]
