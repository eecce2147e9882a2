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
        # One that names its parts is measured part by part.
        head = "def measure(part: str)" if "\nPARTS = (" in text else "def measure()"
        assert text.startswith('"""') and f"{head} -> list[Row]:" in text, path.name


def test_parts_of_a_figure_are_chosen_by_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import run

    chosen = run.parts(["train_step:smol-4-bf16", "kernels"])
    assert chosen == [
        ("kernels", ""),
        ("train_step", "smol-4-bf16-authors"),
        ("train_step", "smol-4-bf16-peft"),
    ]
    assert {name for name, _ in run.parts([])} == set(run.names())


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


def test_raw_answers_stay_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table comes back as it was written; a further arm is one further line."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from answers import Answers, answers_file, read_answers, write_answers

    file = answers_file("joint", 1, "audio", root=tmp_path)
    assert file == tmp_path / "joint" / "seed-1" / "audio.json"
    assert read_answers(file) == Answers()
    table = Answers({"steps": 4})
    table.add("said", {"b": "dög", "a": "cat"})
    write_answers(file, table)
    before = file.read_text("utf-8").splitlines()
    again = read_answers(file)
    assert again == table and again.column("said") == {"a": "cat", "b": "dög"}
    # An arm that has answered one of the two; the row of the other has no such column.
    again.add("margin", {"b": 0.5})
    write_answers(file, again)
    after = file.read_text("utf-8").splitlines()
    assert [line for line in after if line not in before] == ['"margin": [null,0.5],']
    assert read_answers(file) == again
