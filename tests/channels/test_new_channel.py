"""`pave new-channel` and the page that explains it, followed to the letter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from pave.channels.scaffold import write_package
from pave.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "add-a-channel.md"


def test_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No placeholder stays, every Python file parses, the name is everywhere."""
    monkeypatch.chdir(tmp_path)
    folder = write_package("gait2_x")
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {
        "pyproject.toml",
        "encoder.py",
        "test_encoder.py",
        "recipe.yaml",
        "toy.py",
    }
    for file in files:
        text = file.read_text("utf-8")
        assert "@NAME@" not in text and "gait2_x" in text
        if file.suffix == ".py":
            compile(text, str(file), "exec")


def test_refusals(tmp_path: Path) -> None:
    for name in ("Heart", "2d", "a-b", "", "../x"):
        with pytest.raises(ConfigError, match="cannot name a channel"):
            write_package(name, tmp_path / "x")
    with pytest.raises(ConfigError, match="'audio' already"):
        write_package("audio", tmp_path / "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        write_package("heart", tmp_path / "full")


def environment(folder: Path) -> dict[str, str]:
    """A virtual environment that sees this one's packages, with `pip` and `pave` as commands."""
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "parent.pth").write_text(f"{ROOT / 'src'}\n{sysconfig.get_paths()['purelib']}\n")
    for command in ("pip", "pave"):
        script = python.with_name(command)
        script.write_text(f'#!/bin/sh\nexec "{python}" -m {command} "$@"\n')
        script.chmod(0o755)
    # Nothing is downloaded: the build backend and all that the package needs are there.
    pip = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    return {
        **kept,
        **pip,
        "PATH": f"{python.parent}{os.pathsep}{kept['PATH']}",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the page's commands are for a POSIX shell")
def test_the_page_as_written(tmp_path: Path) -> None:
    """Every shell block of the page, in order; at the end the patch beats LoRA-only."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    script = "set -e\n" + "".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^heart +series", done.stdout, re.MULTILINE) and " passed" in done.stdout
    results = json.loads((tmp_path / "pave-heart" / "runs" / "eval" / "results.json").read_text())
    accuracy = {row["arm"]: row["accuracy"] for row in results["arms"] if row["family"] == "all"}
    assert accuracy["heart"] >= 0.95 and accuracy["lora"] <= 0.6 and accuracy["base"] == 0
    (gain,) = [
        row
        for row in results["paired"]
        if (row["family"], row["a"], row["b"]) == ("all", "heart", "lora")
    ]
    assert gain["difference"] >= 0.15 and gain["ci95"][0] > 0
