"""All ten tasks on mini data sets in their public formats, in both styles.

After `prepare` the right answers score full marks.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import minisets
from helpers.minisets import TASKS
from pave.cli import main
from pave.data import Record, read_records
from pave.metrics import captions
from pave.tasks import EXACT, get_task
from pave.tasks.registry import _OWN


@pytest.mark.parametrize("style", ["default", "authors"])
@pytest.mark.parametrize("name", TASKS)
def test_prepare_and_score(name: str, style: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(
        captions, "find_java", lambda: None
    )  # its scores are held elsewhere; this is about the way there
    task, data, out = (
        get_task(name),
        minisets.make(name, tmp_path),
        tmp_path / "records" / "r.jsonl",
    )
    words = [
        "prepare",
        name,
        "--annotations",
        *map(str, data.annotations),
        "--media",
        str(data.media),
    ]
    assert main([*words, "--split", data.split, "--out", str(out), "--style", style, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["converted"], summary["written"], summary["missing"]) == (
        data.examples,
        data.examples,
        [],
    )
    records = read_records(out)
    assert len(records) == data.examples and all(
        task.channel in record.channels for record in records
    )
    assert {record.meta["prompt"] for record in records} == {task.prompt.hash}
    if task.score is None:
        return
    said = tmp_path / "said.jsonl"
    said.write_text(
        "\n".join(json.dumps({"id": record.id, "prediction": gold(record)}) for record in records)
    )
    files = ["--predictions", str(said), "--records", str(out), "--style", style]
    assert main(["score", name, *files, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["scored"], report["expected"], report["missing"]) == (
        data.examples,
        data.examples,
        [],
    )
    for score in ("accuracy", "EM1", "EM1_refined", "ROUGE_L"):
        assert report["scores"].get(score, 1.0) == pytest.approx(1.0)
    assert main(["score", name, *files]) == 0
    assert "items scored" in capsys.readouterr().out


def test_every_benchmark_has_a_mini_set() -> None:
    assert {*TASKS, EXACT} == set(_OWN)


def gold(record: Record) -> str:
    return record.answers[0]


def test_an_ego_exo4d_record_names_the_other_cameras(tmp_path: Path) -> None:
    data, out = minisets.make("ego-exo4d", tmp_path), tmp_path / "r.jsonl"
    words = [
        "prepare",
        "ego-exo4d",
        "--annotations",
        str(data.annotations[0]),
        "--media",
        str(data.media),
    ]
    assert main([*words, "--split", "val", "--out", str(out)]) == 0
    (first, _) = read_records(out)
    assert [Path(view).name for view in first.channels["views"]] == ["exo1.mp4", "exo2.mp4"]
    assert Path(first.video).name == "ego.mp4"
