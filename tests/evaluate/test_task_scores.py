"""Answers scored by a task: the numbers of `pave score`, early refusals, the table and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pave.data import Record, Turn
from pave.errors import ConfigError, RecordError
from pave.evaluate.arm_files import row_of
from pave.evaluate.config import EvalConfig
from pave.evaluate.plot import draw
from pave.evaluate.report import Report, markdown, table
from pave.evaluate.scores import Asked, TaskScores, asked_of, score_arms
from pave.evaluate.table import comparison_table, evaluation_table, few_note, score_table
from pave.tasks import Item, Style, get_task
from pave.tasks.compare import Comparison
from pave.tasks.items import items_of
from pave.tasks.score import Account, score_items, task_for

LETTERS = "ABABAB"
SAID = {
    "base": ["A.", "A", "C", "A", "It is B", "B"],
    "sound": ["A", "B", "(A)", "", "A", "Answer: B"],
}


def _records(**meta: object) -> list[Record]:
    about = {"task": "avqa", "split": "val", "prompt": "p1", **meta}
    return [
        Record(
            id=str(number),
            video=f"v{number % 3}.mp4",
            turns=[Turn(question="Which?", answer=letter)],
            options=["dog", "cat", "bell"],
            meta={
                **about,
                "video_id": f"v{number % 3}",
                "labels": ["Sound", ["Come From", "Where"][number % 2]],
            },
        )
        for number, letter in enumerate(LETTERS)
    ]


def _items(records: list[Record], arm: str) -> list[Item]:
    said = {record.id: SAID[arm][int(record.id)] for record in records}
    return items_of(get_task("avqa"), records, said)


def _scores(records: list[Record], asked: list[Record], style: Style = "default") -> TaskScores:
    task = get_task("avqa")
    items = {arm: _items(asked, arm) for arm in SAID}
    about = asked_of(records, task)
    return score_arms(task, items, about, style=style, resamples=200, seed=3)[0]


@pytest.mark.parametrize("style", ["default", "authors"])
def test_scores_are_those_of_the_task(style: Style) -> None:
    records, task = _records(), get_task("avqa")
    scores = _scores(records, records, style)
    for arm in SAID:
        account = Account(expected=6, prompt="p1")
        report, rows = score_items(
            task, _items(records, arm), style, account, resamples=200, seed=3
        )
        assert scores.arms[arm] == report and len(rows) == 6
    assert (scores.style, scores.how()) == (style, f"Style {style}, prompt p1")


def test_differences_are_of_later_arms_to_earlier_ones() -> None:
    scores = _scores(_records(), _records())
    assert scores.arms["base"].scores == {"accuracy": pytest.approx(2 / 6)}
    gap = scores.gap("accuracy", "all", "sound", "base")
    assert gap is not None and gap.difference == pytest.approx(5 / 6 - 2 / 6)
    assert (gap.clusters, gap.ci95) == (3, None), "three videos hold no interval"
    assert scores.gap("accuracy", "all", "base", "sound") is None


def test_a_benchmarks_answers_are_not_judged_one_by_one() -> None:
    assert row_of(get_task("avqa"), _records()[0], "base", "A").correct is None
    with pytest.raises(ValidationError, match="set `task`, too"):
        EvalConfig(records="r.jsonl", out="o", style="authors")


def test_a_shortened_run_does_not_pass_for_a_whole_one() -> None:
    records = _records()
    scores = _scores(records, records[:4])
    assert (scores.scored, scores.records, scores.expected) == (4, 6, 16_910)
    assert scores.counts() == "4 of 6 items scored; split val has 16,910"
    assert "is not known" in scores.model_copy(update={"expected": None, "split": ""}).counts()


def test_table_page_and_plot(tmp_path: Path) -> None:
    scores = _scores(_records(), _records())
    report = Report(
        task=scores,
        clips=3,
        seconds={},
        peak_rss_mb=1.0,
        trainable_parameters={},
        seeds={},
        versions={},
        command="pave eval",
    )
    header, rows = table(report)
    assert header == ["questions", "score", "n", "base", "sound", "sound - base"]
    assert [row[:3] for row in rows] == [
        ["all questions", "accuracy", "6"],
        ["Sound", "accuracy", "6"],
        ["Come From", "accuracy", "3"],
        ["Where", "accuracy", "3"],
    ]
    assert rows[0][3] == "33.3" and rows[0][5] == "+50.0 *" and rows[1][3] == "33.3"
    page = markdown(report)
    assert (
        "Scores of AVQA times 100" in page
        and "6 of 6 items scored" in page
        and "Style default, prompt p1" in page
    )
    assert report.arm_names() == ["base", "sound"]
    assert Report.model_validate(json.loads(report.model_dump_json())) == report
    assert draw(report, tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_scored_is_refused_at_once() -> None:
    assert task_for("exact", _records()).title == "exact match", "it scores any records"
    with pytest.raises(ConfigError, match="it is only for training; leave out --task"):
        task_for("llava-video", _records())
    with pytest.raises(ConfigError, match="did you mean 'avqa'"):
        task_for("avqqa", _records())
    with pytest.raises(RecordError, match="made for avsd"):
        task_for("avqa", _records(task="avsd"))


def _of_videos(count: int) -> TaskScores:
    """An evaluation of so many videos: the second arm is right more often."""
    items = {}
    for arm, good in (("base", 3), ("sound", 4)):
        items[arm] = [
            Item(str(n), f"v{n}", "A" if n % 5 < good else "B", ("A",), ("cat", "dog"))
            for n in range(count)
        ]
    asked = Asked(prompt="p1", split="val", records=count)
    return score_arms(get_task("avqa"), items, asked, resamples=200, seed=0)[0]


@pytest.mark.parametrize(("videos", "marked"), [(9, True), (10, False), (25, False)])
def test_few_videos_are_marked_in_every_table(videos: int, marked: bool) -> None:
    scores = _of_videos(videos)
    cells = evaluation_table(scores)
    of_arm = score_table(scores.arms["base"])
    gap = scores.gap("accuracy", "all", "sound", "base")
    assert gap is not None and gap.ci95 is not None and gap.clusters == videos
    row = Comparison("em", "all", videos, videos, 0.5, 0.6, 0.1, (0.0, 0.2), 0.5)
    for table_cells in (cells, of_arm, comparison_table([row])):
        assert bool(few_note(table_cells)) == marked
    assert cells[1][0][3].endswith(" *") == cells[1][0][5].endswith(" *") == marked
