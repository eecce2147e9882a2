"""Answers scored by a task: the same numbers as `pave score`, refusals before anything is asked, the table and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pave.data import Record, Turn
from pave.errors import ConfigError, RecordError
from pave.evaluate.config import EvalConfig
from pave.evaluate.items import items_of, judge
from pave.evaluate.plot import draw
from pave.evaluate.report import Report, markdown, table
from pave.evaluate.scores import TaskScores, score_arms, task_of
from pave.tasks import get_task
from pave.tasks.report import item_of, score_items

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


def _scores(out: Path, records: list[Record], asked: list[Record]) -> TaskScores:
    items = items_of(asked)
    answers = {
        (arm, item.id): judge(item, arm, said[int(item.id)], exact=False)
        for arm, said in SAID.items()
        for item in items
    }
    assert {answer.correct for answer in answers.values()} == {None}
    return score_arms(
        get_task("avqa"), records, items, list(SAID), answers, out, resamples=200, seed=3
    )


def test_scores_are_those_of_the_task(tmp_path: Path) -> None:
    records = _records()
    grouped = sorted(records, key=lambda record: record.video)  # evaluation asks clip by clip
    scores = _scores(tmp_path, records, grouped)
    for arm, said in SAID.items():
        wanted = [item_of(record, text) for record, text in zip(records, said, strict=True)]
        report, rows = score_items(get_task("avqa"), wanted, resamples=200, seed=3, prompt="p1")
        assert scores.arms[arm] == report
        assert [
            json.loads(line)
            for line in (tmp_path / "items" / f"{arm}.jsonl").read_text().splitlines()
        ] == rows
    assert scores.arms["base"].scores == {"accuracy": pytest.approx(2 / 6)}
    gap = scores.gap("accuracy", "all", "sound", "base")
    assert gap is not None and gap.difference == pytest.approx(5 / 6 - 2 / 6)
    assert gap.ci95 is not None and gap.ci95[0] <= gap.difference <= gap.ci95[1]
    assert scores.gap("accuracy", "all", "base", "sound") is None


def test_the_authors_style_is_that_of_pave_score(tmp_path: Path) -> None:
    records = _records()
    answers = {
        (arm, item.id): judge(item, arm, said[int(item.id)], exact=False)
        for arm, said in SAID.items()
        for item in items_of(records)
    }
    about = {"resamples": 200, "seed": 3}
    scores = score_arms(
        get_task("avqa"),
        records,
        items_of(records),
        ["base"],
        answers,
        tmp_path,
        style="authors",
        **about,
    )
    wanted = [item_of(record, text) for record, text in zip(records, SAID["base"], strict=True)]
    assert (
        scores.arms["base"]
        == score_items(get_task("avqa"), wanted, "authors", prompt="p1", **about)[0]
    )
    assert (scores.style, scores.how()) == ("authors", "Style authors, prompt p1")
    with pytest.raises(ValidationError, match="name the `task` too"):
        EvalConfig(records="r.jsonl", out="o", style="authors")


def test_a_shortened_run_does_not_pass_for_a_whole_one(tmp_path: Path) -> None:
    records = _records()
    scores = _scores(tmp_path, records, records[:4])
    assert (scores.scored, scores.records, scores.expected) == (4, 6, 16_910)
    assert scores.counts() == "4 of 6 items scored; split val has 16,910"
    assert "is not known" in scores.model_copy(update={"expected": None, "split": ""}).counts()


def test_table_page_and_plot(tmp_path: Path) -> None:
    scores = _scores(tmp_path, _records(), _records())
    report = Report(
        arms=[], paired=[], task=scores, clips=3, seconds={}, peak_rss_mb=1.0, trainable_parameters={}, seeds={}, versions={},
        command="pave eval",
    )  # fmt: skip
    header, rows = table(report)
    assert header == ["questions", "score", "n", "base", "sound", "sound - base"]
    assert [row[:3] for row in rows] == [
        ["all questions", "accuracy", "6"],
        ["Sound", "accuracy", "6"],
        ["Come From", "accuracy", "3"],
        ["Where", "accuracy", "3"],
    ]
    assert (
        rows[0][3].startswith("33.3 (")
        and rows[0][5].startswith("+50.0 (")
        and rows[1][3] == "33.3"
    )
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
    assert task_of(None, _records()) is None
    with pytest.raises(ConfigError, match="only trained on"):
        task_of("llava-video", _records())
    with pytest.raises(ConfigError, match="did you mean 'avqa'"):
        task_of("avqqa", _records())
    with pytest.raises(RecordError, match="made for avsd"):
        task_of("avqa", _records(task="avsd"))
