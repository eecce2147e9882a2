"""The benchmark's own promises: every script starts, and a text lands between its markers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_every_script_and_figure_imports() -> None:
    """What `make bench` and `make results` would only find out after minutes."""
    pytest.importorskip("pave_world")  # whose clips they take
    scripts = [path.stem for path in BENCHMARKS.glob("*.py")]
    figures = [f"figures.{path.stem}" for path in (BENCHMARKS / "figures").glob("[a-z]*.py")]
    assert "run" in scripts and "figures.fusion" in figures
    code = (
        f"import importlib\nfor name in {sorted(scripts + figures)}: importlib.import_module(name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_figure_says_what_it_compares_and_can_be_measured() -> None:
    for path in (BENCHMARKS / "figures").glob("[a-z]*.py"):
        text = path.read_text("utf-8")
        assert text.startswith('"""') and "def measure() -> list[Row]:" in text, path.name


def test_every_recorded_figure_has_a_place_on_the_page() -> None:
    page = (BENCHMARKS.parent / "docs" / "performance.md").read_text("utf-8")
    for name in [path.stem for path in (BENCHMARKS / "figures").glob("[a-z]*.py")] + ["growth"]:
        assert f"<!-- bench:{name.replace('_', '-')}:start -->" in page, name


def test_a_text_replaces_what_stands_between_its_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from pages import between_marks

    page = "before\n<!-- results:start -->\nold\n<!-- results:end -->\nafter\n"
    assert (
        between_marks(page, "results", "new")
        == "before\n<!-- results:start -->\n\nnew\n\n<!-- results:end -->\nafter\n"
    )
    with pytest.raises(SystemExit, match="no markers"):
        between_marks("a page", "results", "new")
