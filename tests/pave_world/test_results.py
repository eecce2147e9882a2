"""The results page: seeds pooled into one comparison, honest words for every outcome."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pave.evaluate.arm_files import row_of, write_rows
from pave.evaluate.report import Report, write_report
from pave.evaluate.scores import asked_of, score_arms
from pave.tasks import EXACT, get_task
from pave.tasks.items import items_of
from pave_world.demo.config import DemoConfig
from pave_world.demo.run import finished_report
from pave_world.demo.training import CONTROL

ARMS = ["base", CONTROL, "views-patch"]
CLIPS = 8


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def _run(out: Path, seed: int, right: dict[tuple[str, str], int]) -> DemoConfig:
    """A finished run without the running: of the clips, so many of an (arm, need) answer right."""
    from pave.data import Record, Turn

    config = DemoConfig.model_validate(
        {"channel": "views", "seed": seed, "out": out / str(seed)}
    ).resolved()
    records = [
        Record(
            id=f"{clip}-{need}",
            video=f"{clip}.mp4",
            turns=[Turn(question="What?", answer="dog")],
            meta={"channel": need, "family": "behind" if need == "views" else "colour"},
        )
        for clip in range(CLIPS)
        for need in ("views", "video")
    ]
    file = config.world("test") / "records.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(
        "".join(record.model_dump_json(exclude_defaults=True) + "\n" for record in records), "utf-8"
    )
    task = get_task(EXACT)
    items = {}
    (config.out / "eval").mkdir()
    for arm in ARMS:
        said = {
            record.id: "dog" if n // 2 < right.get((arm, record.meta["channel"]), 0) else "cat"
            for n, record in enumerate(records)
        }
        rows = [row_of(task, record, arm, said[record.id]) for record in records]
        write_rows(config.out / "eval" / f"{arm}.jsonl", rows)
        items[arm] = items_of(task, records, said)
    scores, _ = score_arms(task, items, asked_of(records, task), resamples=200, seed=0)
    report = Report(
        task=scores,
        clips=CLIPS,
        seconds={"training": 120.0},
        peak_rss_mb=2048.0,
        trainable_parameters={CONTROL: 100, "views-patch": 300},
        seeds={"world": seed},
        versions={"torch": "2"},
        command="pave demo",
    )
    write_report(report, config.out, title="t", images=[])
    note = {
        "finished": True,
        "settings": config.model_dump(mode="json"),
        "seconds": {},
        "peak_rss_mb": 0.0,
    }
    (config.out / "demo.json").write_text(json.dumps(note), "utf-8")
    return config


def _channel(out: Path, *outcomes: dict[tuple[str, str], int]) -> Any:
    from pooled import pooled

    configs = [_run(out, seed, outcome) for seed, outcome in enumerate(outcomes, start=1)]
    finished = [
        (config, report) for config in configs if (report := finished_report(config)) is not None
    ]
    assert len(finished) == len(outcomes)
    return pooled(finished)


def test_seeds_are_pooled_question_by_question(tmp_path: Path) -> None:
    from results_pages import section, summary

    one = {
        ("base", "video"): 8,
        (CONTROL, "video"): 8,
        ("views-patch", "video"): 8,
        (CONTROL, "views"): 2,
        ("views-patch", "views"): 8,
    }
    two = {**one, (CONTROL, "views"): 4}
    channel = _channel(tmp_path, one, two)
    row = channel.whole.arm(CONTROL, "views")
    assert (row.n, row.correct) == (2 * CLIPS, 6) and channel.whole.clips == 2 * CLIPS
    gap = channel.whole.gap("views-patch", CONTROL, "views")
    assert (
        gap.difference == pytest.approx(10 / 16) and 0 < gap.ci95[0] < gap.difference < gap.ci95[1]
    )
    line = next(
        line for line in summary([channel]).splitlines() if line.startswith("| other cameras")
    )
    # Nobody has asked the control arms, so there are no columns for them.
    assert "| 1, 2 | 16 | 0.0 | 37.5 | 100.0 | +62.5 (" in line and "| +0.0 (" in line
    assert "lind" not in summary([channel]) and "shuffled" not in section(channel)
    old = "| sound | 7 | kept | 1 | 2 | 3 | 4 | 5 |\n| other cameras | 7 | replaced |"
    assert "kept" in summary([channel], old) and "replaced" not in summary([channel], old)
    text = section(channel)
    assert "+75.0, +50.0" in text
    assert (
        "62 in a hundred questions more" in text
        and "within 3 points" in text
        and "300 trained parameters" in text
    )
    assert "No gain" not in text


@pytest.mark.parametrize(
    ("patch", "control", "words"),
    [
        ({"views": 2, "video": 8}, {"views": 2, "video": 8}, "not shown to help"),
        (
            {"views": 8, "video": 4},
            {"views": 2, "video": 8},
            "On visual questions it loses 50.0 points",
        ),
        (
            {"views": 8, "video": 8},
            {"views": 2, "video": 4},
            "On visual questions it gains 50.0 points",
        ),
    ],
)
def test_a_bad_outcome_is_said(
    tmp_path: Path, patch: dict[str, int], control: dict[str, int], words: str
) -> None:
    from results_pages import verdict

    outcome = {("views-patch", need): right for need, right in patch.items()} | {
        (CONTROL, need): right for need, right in control.items()
    }
    assert words in verdict(_channel(tmp_path, outcome))


def test_a_run_with_other_settings_is_not_taken(tmp_path: Path) -> None:
    config = _run(tmp_path, 1, {})
    assert finished_report(config) is not None
    assert finished_report(config.model_copy(update={"steps": 7})) is None
    (config.out / "results.json").unlink()
    assert finished_report(config) is None


def test_families_without_a_gain_are_named(tmp_path: Path) -> None:
    from results_pages import verdict

    channel = _channel(tmp_path, {("views-patch", "views"): 8, (CONTROL, "views"): 2})
    gaps = [
        gap.model_copy(update={"ci95": (-0.1, 0.9)}) if gap.label == "behind" else gap
        for gap in channel.whole.task.gaps
    ]
    scores = channel.whole.task.model_copy(update={"gaps": gaps})
    flat = replace(channel, whole=channel.whole.model_copy(update={"task": scores}))
    assert "No gain is shown on: behind." in verdict(flat)


def _controls(config: DemoConfig, right: dict[str, int]) -> None:
    """Answers of the control arms: of the clips so many right about what needs the channel."""
    from controls import ARMS, folder_of

    from pave.data import read_records

    task = get_task(EXACT)
    records = read_records(config.world("test") / "records.jsonl", check_media=False)
    folder = folder_of(config)
    folder.mkdir()
    for arm in ARMS:
        rows = []
        for number, record in enumerate(records):
            hit = record.meta["channel"] == "views" and number // 2 < right.get(arm, 0)
            rows.append(row_of(task, record, arm, "dog" if hit else "cat"))
        write_rows(folder / f"{arm}.jsonl", rows)
    (folder / "results.json").write_text("{}")


def test_control_arms_stand_beside_and_probes_say_why(tmp_path: Path) -> None:
    from pooled import pooled
    from results_pages import section, summary

    config = _run(tmp_path, 1, {("base", "views"): 1, (CONTROL, "views"): 4})
    _controls(
        config, {"blind": 2, "shuffled": 3, "prior": 1, "linear": 1, "mlp": 8, "attention": 2}
    )
    report = finished_report(config)
    assert report is not None
    channel = pooled([(config, report)])
    old = "| sound | 1 | 10 | 34.2 | 47.4 | 70.0 | +22.6 (+19.6 to +25.5) | -2.0 (-3.8 to -0.3) |"
    made = summary([channel], old)
    (line,) = [row for row in made.splitlines() if row.startswith("| other")]
    assert "| 8 | 25.0 | 12.5 | 50.0 | 37.5 | 0.0 |" in line
    # A line of an older table has empty places there.
    (line,) = [row for row in made.splitlines() if row.startswith("| sound")]
    assert "| 10 |  | 34.2 | 47.4 |  | 70.0 |" in line
    assert "Blind: LoRA-only without the clip" in made
    text = section(channel)
    assert "| behind | 12.5 | 12.5 | 100.0 | 25.0 | hold it (mlp +87.5): not learnt |" in text
    # The mlp taken away, nothing is shown.
    for row in ("mlp", "linear"):
        file = config.out / "controls" / f"{row}.jsonl"
        file.write_text(
            file.read_text().replace('"dog", "correct": true', '"cat", "correct": false')
        )
    assert "are not shown to hold it |" in section(pooled([(config, report)]))


def test_the_command_of_the_control_arms_is_one_that_eval_takes(tmp_path: Path) -> None:
    from controls import ARMS, command_of

    from pave.evaluate import EvalConfig

    config = DemoConfig.model_validate({"channel": "views", "out": tmp_path}).resolved()
    words = command_of(config)
    arms = {}
    for place, word in enumerate(words):
        if word.startswith("--arms."):
            arms[word.removeprefix("--arms.")] = words[place + 1]
    assert tuple(arms) == ARMS
    given = {"records": "r", "out": "o", "arms": arms, "train_records": "t"}
    kinds = [spec.kind for spec in EvalConfig.model_validate(given).specs.values()]
    assert kinds == ["blind", "shuffled", "prior", "linear", "mlp", "attention"]
