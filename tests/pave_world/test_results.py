"""The results page: seeds pooled into one comparison, honest words for every outcome."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
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
def _benchmarks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import pooled
    import results_answers

    # The repository's own answers stay as they are.
    monkeypatch.setattr(results_answers, "MEASURED", tmp_path / "measured")
    monkeypatch.setattr(pooled, "RESAMPLES", 500)  # no interval is looked at closely


def _run(out: Path, seed: int, right: dict[tuple[str, str], int]) -> DemoConfig:
    """A finished run without the running: of the clips, so many of an (arm, need) answer right."""
    from pave.data import Record, Turn

    config = DemoConfig.model_validate(
        {"channel": "views", "seed": seed, "out": out / "views" / f"seed-{seed}"}
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


def _keep(config: DemoConfig) -> Any:
    """What is kept of a finished run."""
    from results_answers import keep, read_kept

    report = finished_report(config)
    assert report is not None
    keep(config, report)
    return read_kept(config)


def _channel(out: Path, *outcomes: dict[tuple[str, str], int]) -> Any:
    """Runs whose control arms are never right, pooled."""
    from pooled import pooled

    kept = []
    for seed, outcome in enumerate(outcomes, start=1):
        config = _run(out, seed, outcome)
        _controls(config, {})
        kept.append(_keep(config))
    return pooled(kept)


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
    assert "| 1, 2 | 16 | 0.0 | 0.0 | 37.5 | 0.0 | 100.0 | +62.5 (" in line and "| +0.0 (" in line
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
    channel = pooled([_keep(config)])
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
    assert "are not shown to hold it |" in section(pooled([_keep(config)]))


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


RIGHT = {("base", "video"): 8, (CONTROL, "views"): 2, ("views-patch", "views"): 7}


def _finished(out: Path, seed: int) -> DemoConfig:
    """A run whose arms have all been asked."""
    config = _run(out, seed, RIGHT)
    _controls(config, {"blind": seed, "mlp": 5})
    return config


def test_a_run_comes_back_from_the_repository(tmp_path: Path) -> None:
    from pooled import pooled
    from results_answers import file_of, missing, read_kept
    from results_pages import section, summary

    config = _finished(tmp_path, 1)
    report = finished_report(config)
    assert report is not None and missing(config) == "is not kept"
    made = pooled([_keep(config)])
    assert missing(config) == ""
    # The run's own report was scored from its files.
    for row in report.arms:
        assert made.runs[1].arm(row.arm, row.family) == row
    for name in ("clips", "seconds", "peak_rss_mb", "trainable_parameters"):
        assert getattr(made.runs[1], name) == getattr(report, name)
    assert made.controls.arm("mlp", "behind").correct == 5
    shutil.rmtree(config.out)
    again = pooled([read_kept(config)])
    assert (section(again), summary([again])) == (section(made), summary([made]))
    assert str(tmp_path) not in file_of(config).read_text("utf-8")  # no path of the machine


def test_runs_with_other_settings_are_not_mixed(tmp_path: Path) -> None:
    from results_answers import file_of, missing, refuse_other_settings

    config = _finished(tmp_path, 1)
    _keep(config)
    # Another processor may train in another precision, and elsewhere.
    other = "fp32" if config.precision == "bf16" else "bf16"
    elsewhere = config.model_copy(update={"precision": other, "out": Path("x"), "workers": 9})
    refuse_other_settings(elsewhere)
    assert missing(elsewhere) == ""
    longer = config.model_copy(update={"steps": 7})
    assert missing(longer) == "has other settings"
    with pytest.raises(SystemExit, match="answers of other settings"):
        refuse_other_settings(longer)
    # A field that did not exist when it was kept has its default.
    file = file_of(config)
    table = json.loads(file.read_text("utf-8"))
    del table["about"]["settings"]["accumulation"]
    file.write_text(json.dumps(table), "utf-8")
    assert missing(config) == ""


class _Pave:
    """Stands in for the processes of `pave`: a demo ends at once, and so do its control arms."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.calls: list[str] = []
        self.fails = ""

    def __call__(self, command: list[str], **_: Any) -> SimpleNamespace:
        verb = command[3]
        self.calls.append(verb)
        if verb == self.fails:
            return SimpleNamespace(returncode=1)
        seed = int(command[command.index("--seed") + 1])
        if verb == "demo":
            _run(self.out, seed, RIGHT)
        else:
            values = {"channel": "views", "seed": seed, "out": self.out / "views" / f"seed-{seed}"}
            _controls(DemoConfig.model_validate(values).resolved(), {})
        return SimpleNamespace(returncode=0)


def test_what_is_kept_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import results
    from results_answers import missing

    pave = _Pave(tmp_path)
    monkeypatch.setattr(results.subprocess, "run", pave)
    (config,) = [results._config(tmp_path, "views", 2)]
    pave.fails = "eval"
    assert not results.run(config)
    # Its main arms are safe already.
    assert missing(config) == "lacks blind, shuffled, prior, linear, mlp, attention"
    pave.fails = ""
    assert results.run(config)
    assert pave.calls == ["demo", "eval", "eval"] and missing(config) == ""
    shutil.rmtree(config.out)
    assert results.run(config)
    assert len(pave.calls) == 3


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pages of an earlier measurement, which the functions write to."""
    import results_pages

    root = tmp_path / "pages"
    (root / "docs" / "assets").mkdir(parents=True)
    old = [
        "<!-- results:start -->",
        "| sound | 1, 2, 3 | 10 | 34.2 | 47.4 | 70.0 | +22.6 (old) | -2.0 (old) |",
        "| other cameras | 1, 2, 3 | 10 | 34.2 | 47.4 | 70.0 | +9.9 (old) | -2.0 (old) |",
        "<!-- results:end -->",
    ]
    for name in ("README.md", "docs/index.md", "docs/results.md"):
        lines = [*old]
        for channel in ("audio", "views"):
            mark = f"results-{channel}"
            lines += [f"<!-- {mark}:start -->", f"old {channel}", f"<!-- {mark}:end -->"]
        (root / name).write_text("\n".join(lines), "utf-8")
    monkeypatch.setattr(results_pages, "ROOT", root)
    monkeypatch.setattr(results_pages, "RESULTS", root / "docs" / "results.md")
    monkeypatch.setattr(results_pages, "PLOTS", root / "docs" / "assets")
    return root


def _write(monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> None:
    import results

    argv = ["results.py", "--write-only", "--out", str(out), *words]
    monkeypatch.setattr(sys, "argv", argv)
    assert results.main() == 0


def test_a_set_of_seeds_is_written_whole_or_by_name(
    tmp_path: Path, pages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _keep(_finished(tmp_path, 1))
    before = (pages / "README.md").read_text("utf-8")
    with pytest.raises(SystemExit, match="no channel is whole"):
        _write(monkeypatch, tmp_path)
    said = capsys.readouterr().out
    assert "views stays on the pages as it is: seed 2 is not kept, seed 3 is not kept\n" in said
    assert "audio stays on the pages as it is: seed 1 is not kept, seed 2" in said
    assert (pages / "README.md").read_text("utf-8") == before
    _write(monkeypatch, tmp_path, "--seeds", "1")
    for name in ("README.md", "docs/index.md", "docs/results.md"):
        page = (pages / name).read_text("utf-8")
        assert "| other cameras | 1 | 8 | 12.5 | " in page
        assert "| +22.6 (old) |" in page and "+9.9 (old)" not in page
    assert "old audio" in page and "old views" not in page
    # The rest of them, one still in its own folder.
    _keep(_finished(tmp_path, 2))
    _finished(tmp_path, 3)
    _write(monkeypatch, tmp_path)
    assert "| other cameras | 1, 2, 3 | 24 | 25.0 | " in (pages / "README.md").read_text("utf-8")
    whole = (pages / "docs" / "results.md").read_text("utf-8")
    # As on a clone, where there is nothing but what is kept.
    shutil.rmtree(tmp_path / "views")
    _write(monkeypatch, tmp_path)
    assert (pages / "docs" / "results.md").read_text("utf-8") == whole


def test_seeds_that_were_trained_differently_are_named(tmp_path: Path) -> None:
    from pooled import pooled
    from results_pages import section

    kept = [_keep(_finished(tmp_path, seed)) for seed in (1, 2, 3)]
    for run, precision in zip(kept, ("bf16", "fp32", "bf16"), strict=True):
        own = {"precision": precision, "architecture": "x86_64", "torch": "2", "cores": 4}
        run.answers.about["training"] = {**own, "processor": "Some CPU, AVX2, 4 threads"}
    rest = "on x86_64, torch 2 (4 cores; Some CPU, AVX2, 4 threads)"
    text = section(pooled(kept))
    assert f"Seeds 1, 3 trained in bf16 {rest}; seed 2 trained in fp32 {rest}." in text
    assert f" Trained in bf16 {rest}." in section(pooled(kept[:1]))
