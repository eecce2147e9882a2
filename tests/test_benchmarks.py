"""The benchmark's own promises: every script starts, and a text lands between its markers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pave_world.demo.config import DemoConfig

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


def test_what_arms_said_in_conflicts_comes_back_from_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clips and one question: the pair, its answers and its margins are as they were."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from conflict_answers import keep, read_kept
    from conflict_arms import Arm
    from conflict_page import exchanged

    arm = Arm("plain", 1, clips=3)
    world = DemoConfig(seed=1, out=tmp_path / "out", steps=4).resolved()
    # In an order that is not that of their names; the seed's own order begins with a.
    records = [_heard(clip, answer) for clip, answer in (("b", "cat"), ("a", "dog"))]
    _write_lines(world.world("test") / "records.jsonl", records)
    settings = arm.settings(world)
    _write(settings.out.parent / f"{settings.out.name}.json", {"cpu_seconds": 7.5})
    for name in (arm.name, f"{arm.name}-shuffled"):
        said = [_said(record["id"], "dog") for record in records]
        _write_lines(world.out / "eval" / name / "arm.jsonl", said)
    # The model says what a's sound is, and what b's sound is half of the time.
    cells = {"aa": ("dog", 2.0), "ab": ("dog", 1.0), "ba": ("dog", 2.0), "bb": ("cat", -1.0)}
    ids = {cell: f"a-0 x b-0 {cell}" for cell in cells}
    swap = world.out / "swap" / arm.name
    _write_lines(swap / "arm.jsonl", [_said(ids[cell], text) for cell, (text, _) in cells.items()])
    _write(
        swap / "margins" / "arm.json", {ids[cell]: margin for cell, (_, margin) in cells.items()}
    )

    keep(world, arm, root=tmp_path / "measured")
    (kept,) = read_kept([1, 2], root=tmp_path / "measured")
    assert kept.is_asked(arm) and kept.is_exchanged(arm)
    assert kept.training(arm)["cpu_seconds"] == 7.5
    assert [record.id for record in kept.records()] == ["b-0", "a-0"]
    row = exchanged([kept], [arm]).rows["plain", "audio"]
    assert row.n == 1
    # Right where both are of one clip; of the two conflicts, one follows the sound.
    assert (row.scores["matched"].value, row.scores["follows"].value) == (1.0, 0.5)
    # ((2 - 1) + (2 - -1)) / 2 by the sound, ((2 - 2) + (1 - -1)) / 2 by the picture.
    assert row.scores["channel_effect"].value == 2.0
    assert row.scores["picture_effect"].value == 1.0


def _heard(clip: str, answer: str) -> dict[str, Any]:
    """A record that asks for the sound of a clip."""
    film = f"clips/{clip}.mp4"
    meta = {"family": "heard", "channel": "audio", "clip": clip, "pair": "one"}
    turn = {"question": "What do you hear?", "answer": answer}
    return {
        "id": f"{clip}-0",
        "video": film,
        "channels": {"audio": film},
        "turns": [turn],
        "meta": meta,
    }


def _said(name: str, text: str) -> dict[str, Any]:
    """A line of an arm's file."""
    about = {"family": "", "question": "", "answer": "", "correct": None}
    return {"id": name, "arm": "arm", "prediction": text, **about}


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), "utf-8")


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
