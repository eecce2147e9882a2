"""The demo in small: all stages in real processes on a tiny base.

Interruption, continuation, failure.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import tiny
from pave.errors import BaseError, ConfigError, TrainError
from pave.evaluate.machine import PeakMemory
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import make_clips
from pave_world.demo.presets import PRESETS
from pave_world.demo.run import BASE, _Book, finished_report, run_demo
from pave_world.demo.training import CONTROL, run_configs, train_both


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    made = tiny.base()
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


PATCH = "audio-patch"


def _config(base: Path, out: Path, **changes: object) -> DemoConfig:
    small = {
        "train_clips": 4,
        "test_clips": 3,
        "steps": 4,
        "align_steps": 5,
        "batch_clips": 2,
        "fusion": {"hidden": 32},
        "max_new_tokens": 3,
    }
    return DemoConfig.model_validate({"base": str(base), "out": out, **small, **changes})


def test_control_and_patch_differ_only_in_what_hears(base: Path, tmp_path: Path) -> None:
    own = {
        "out",
        "channel",
        "encoder",
        "encoder_settings",
        "fusion",
        "align_steps",
        "align_families",
        "align_share",
    }
    for channel, chosen in PRESETS.items():
        config = _config(base, tmp_path, channel=channel).resolved()
        runs = run_configs(config, tmp_path / "records.jsonl")
        control, patch = (runs[name].model_dump() for name in (CONTROL, config.patch_arm))
        different = {name for name in control if control[name] != patch[name]}
        assert {"channel", "encoder", "fusion", "align_steps"} < different <= own
        assert (patch["channel"], patch["encoder"]) == (channel, chosen.encoder)


def test_a_channel_fills_in_what_was_not_chosen(base: Path, tmp_path: Path) -> None:
    views = _config(base, tmp_path, channel="views", fusion={}).resolved()
    assert (views.encoder, views.fusion, views.patch_arm) == (
        "tower",
        {"hidden": 256},
        "views-patch",
    )
    assert views.resolved() == views
    mine = _config(base, tmp_path, channel="frames", encoder="languagebind").resolved()
    assert mine.encoder_settings == {}  # the settings were chosen for the other encoder


def test_each_split_has_its_number_of_clips(base: Path, tmp_path: Path) -> None:
    config = _config(base, tmp_path)
    assert (config.clips("train"), config.clips("test")) == (4, 3)
    for word in ("val", "Test", ""):
        with pytest.raises(ConfigError, match="a demo has train and test"):
            config.clips(word)


def test_one_precision_for_both_runs(base: Path, tmp_path: Path) -> None:
    assert _config(base, tmp_path).resolved().precision in ("fp32", "bf16")
    config = _config(base, tmp_path, precision="bf16")
    assert {
        run.precision for run in run_configs(config.resolved(), tmp_path / "records.jsonl").values()
    } == {"bf16"}


def test_book_adds_up_and_starts_afresh_when_finished_or_changed(
    base: Path, tmp_path: Path
) -> None:
    config = _config(base, tmp_path)
    book = _Book(config)
    with PeakMemory() as memory, pytest.raises(KeyboardInterrupt), book.stage("world", memory):
        raise KeyboardInterrupt
    (tmp_path / "world").mkdir()
    again = _Book(config)
    assert (
        set(again.watch.seconds) == {"world"} and again.peak > 0 and (tmp_path / "world").exists()
    )
    assert (
        not _Book(_config(base, tmp_path, steps=9)).watch.seconds
        and not (tmp_path / "world").exists()
    )
    book = _Book(config)
    book.save(finished=True)
    (tmp_path / "world").mkdir()
    (tmp_path / "mine.txt").write_text("kept")
    _Book(config)
    assert not (tmp_path / "world").exists() and (tmp_path / "mine.txt").exists()


def test_a_finished_demo_of_before_is_read_in_the_words_of_today(tmp_path: Path) -> None:
    """Its channel was a sense, audio was sound, and the patch was named after it."""
    config = DemoConfig(out=tmp_path).resolved()
    settings = config.model_dump(mode="json")
    del settings["channel"]
    arms, paired = [], []
    for family in ("all", "sound", "first", "visual", "left"):
        for correct, arm in enumerate((BASE, CONTROL, "sound-patch"), 5):
            share = {"n": 10, "correct": correct, "accuracy": correct / 10, "ci95": [0.2, 0.9]}
            arms.append({"arm": arm, "family": family, **share})
        gap = {"a": "sound-patch", "b": BASE, "difference": 0.2, "ci95": [0.1, 0.3]}
        paired.append({"family": family, **gap})
    cost = {"seconds": {}, "peak_rss_mb": 1.0}
    about = {"seeds": {}, "versions": {}, "command": "pave demo", "settings": settings}
    results = {"arms": arms, "paired": paired, "task": None, "clips": 3} | cost | about
    results["trainable_parameters"] = {CONTROL: 2, "sound-patch": 3}
    note = {"settings": {**settings, "sense": "sound"}, "finished": True} | cost
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "demo.json").write_text(json.dumps(note))
    report = finished_report(config)
    assert report is not None
    assert report.families() == ["all", "audio", "first", "video", "left"]
    assert report.arm("audio-patch", "audio").correct == 7
    assert report.gap("audio-patch", BASE, "video").difference == 0.2
    assert report.trainable_parameters == {CONTROL: 2, "audio-patch": 3}


@pytest.mark.parametrize("content", ["", "[1]", "{}"])
def test_a_damaged_note_is_named(base: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(ConfigError, match="demo.json is damaged .*; choose another out folder"):
        _Book(_config(base, tmp_path))


@pytest.mark.slow
def test_a_failed_run_is_named_with_its_reason(base: Path, tmp_path: Path) -> None:
    config = _config(base, tmp_path, fusion={"hidden": 33}).resolved()
    records = tmp_path / "gone.jsonl"
    with pytest.raises(TrainError, match=rf"{CONTROL}|{PATCH}.*gone.jsonl"):
        train_both(config, records, lambda *_: None, lambda _: None)


@pytest.mark.slow
def test_demo_from_nothing(base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = _config(base, tmp_path / "out")
    report = run_demo(config, said.append)
    out = config.out
    saved = json.loads((out / "results.json").read_text())
    assert [row["arm"] for row in saved["arms"] if row["family"] == "all"] == [
        "base",
        CONTROL,
        PATCH,
    ]
    assert {"all", "audio", "video"} <= {row["family"] for row in saved["arms"]}
    assert {(row["a"], row["b"]) for row in saved["paired"]} == {
        (CONTROL, "base"),
        (PATCH, "base"),
        (PATCH, CONTROL),
    }
    assert set(saved["seconds"]) == {"world", "features", "training", "comparison"}
    assert saved["peak_rss_mb"] > 300 and set(saved["trainable_parameters"]) == {CONTROL, PATCH}
    assert (
        saved["seeds"] == {"world": 1, "training": 1, "bootstrap": 1} and saved["versions"]["torch"]
    )
    assert (out / "plot.png").is_file() and "needs sound" in (out / "report.md").read_text()
    card = (out / "patch" / "README.md").read_text()
    assert CONTROL in card and report.clips == 3 and len(said) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("channel", [channel for channel in PRESETS if channel != "audio"])
def test_every_channel_goes_through_all_stages(base: Path, tmp_path: Path, channel: str) -> None:
    config = _config(base, tmp_path, channel=channel)
    assert finished_report(config) is None
    report = run_demo(config, lambda _: None)
    assert {"all", channel, "video"} <= set(report.families())
    assert report.arm_names() == ["base", CONTROL, f"{channel}-patch"]
    assert finished_report(config) == report
    assert finished_report(_config(base, tmp_path, channel=channel, steps=5)) is None


@pytest.mark.slow
def test_a_base_that_cannot_be_had_ends_the_work_early(tmp_path: Path) -> None:
    config = _config(tmp_path / "nowhere", tmp_path / "out", train_clips=5000)
    with pytest.raises(BaseError, match="nowhere"):
        make_clips(config, lambda *_: None)
    assert len(list((tmp_path / "out" / "world" / "train" / "clips").glob("*.mp4"))) < 1000
