"""A whole evaluation on a tiny base: the numbers, the files, interruption and continuation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import tiny, tinyrun
from pave.answer import batches
from pave.bases import load_base
from pave.data import read_records, write_records
from pave.errors import ConfigError, PatchError, RecordError
from pave.evaluate import EvalConfig, Report, evaluate
from pave.metrics import paired, wilson
from pave.model import PatchedModel
from pave.patches import read_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    """Clips, base and patches; the answers of half of the questions are what the base says."""
    made = tinyrun.make(tmp_path_factory.mktemp("made"))
    evaluate(
        EvalConfig(
            records=made.records,
            out=made.records.parent / "first",
            base=str(made.base),
            frames=4,
            batch=5,
            plot=False,
        )
    )
    rows = [
        json.loads(line)
        for line in (made.records.parent / "first" / "base.jsonl").read_text().splitlines()
    ]
    said = {row["id"]: row["prediction"] for row in rows}
    records = [
        record.model_copy(
            update={"answers": [said[record.id] or "x" if number % 2 else "nothing of the kind"]}
        )
        for number, record in enumerate(read_records(made.records))
    ]
    write_records(made.records, records)
    return made


def _config(made: tinyrun.Run, out: Path, **changes: object) -> EvalConfig:
    arms = {"base": None, "lora": made.lora, "sound": made.patch}
    settings = {
        "frames": 4,
        "batch": 5,
        "max_new_tokens": 8,
        "cache": made.records.parent / "cache",
        "resamples": 500,
        "plot": False,
    }
    return EvalConfig.model_validate(
        {
            "records": made.records,
            "out": out,
            "base": str(made.base),
            "arms": arms,
            **settings,
            **changes,
        }
    )


def _answers(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(out.glob("*.jsonl"))}


def test_numbers_follow_from_the_answer_files(made: tinyrun.Run, tmp_path: Path) -> None:
    report = evaluate(_config(made, tmp_path, max_new_tokens=16, plot=True))
    rows = [json.loads(line) for text in _answers(tmp_path).values() for line in text.splitlines()]
    assert len(rows) == 36 and set(rows[0]) == {
        "id",
        "arm",
        "family",
        "question",
        "answer",
        "prediction",
        "correct",
    }
    assert report.families() == ["all", "audio", "f0", "f1", "video", "f2"]
    assert report.clips == 4
    for row in report.arms:
        inside = {"all": "f0f1f2", "audio": "f0f1", "video": "f2"}.get(row.family, row.family)
        own = [r for r in rows if r["arm"] == row.arm and r["family"] in inside]
        assert (row.n, row.correct) == (len(own), sum(r["correct"] for r in own))
        assert row.accuracy == row.correct / row.n and row.ci95 == wilson(row.correct, row.n)
    assert report.arm("base").correct >= 4, "the base must match its own answers"
    scores = {
        arm: [float(r["correct"]) for r in rows if r["arm"] == arm] for arm in ("base", "sound")
    }
    by_hand = paired(
        scores["sound"],
        scores["base"],
        [r["id"][0] for r in rows if r["arm"] == "base"],
        resamples=500,
    )
    gap = report.gap("sound", "base")
    assert gap.difference == by_hand.difference
    # Four clips hold no interval, which exact match says with the widest there is.
    assert by_hand.ci95 is None
    assert gap.ci95 == (-1.0, 1.0)
    assert gap.difference == pytest.approx(
        report.arm("sound").accuracy - report.arm("base").accuracy
    )
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "| **needs sound** | 8 |" in (tmp_path / "report.md").read_text()
    saved = json.loads((tmp_path / "results.json").read_text())
    assert Report.model_validate(saved) == report
    wanted = {
        "arms",
        "paired",
        "seconds",
        "peak_rss_mb",
        "trainable_parameters",
        "seeds",
        "versions",
        "command",
    }
    assert wanted <= set(saved) and set(saved["arms"][0]) == {
        "arm",
        "family",
        "n",
        "correct",
        "accuracy",
        "ci95",
    }
    wanted = {"family", "a", "b", "difference", "ci95", "clusters"}
    assert set(saved["paired"][0]) == wanted
    assert saved["trainable_parameters"]["sound"] > saved["trainable_parameters"]["lora"] > 0
    assert saved["peak_rss_mb"] > 50


@pytest.mark.parametrize("kill_after", [1, 5])
def test_interrupted_evaluation_ends_as_an_uninterrupted_one(
    made: tinyrun.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_after: int
) -> None:
    whole, broken = _config(made, tmp_path / "whole"), _config(made, tmp_path / "broken")
    expected = evaluate(whole)
    calls = []
    real = batches.generate

    def dying(*args: object) -> object:
        calls.append(1)
        if len(calls) > kill_after:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(batches, "generate", dying)
    base = load_base(made.base)
    with pytest.raises(KeyboardInterrupt):
        evaluate(broken, base)
    last = sorted((tmp_path / "broken").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)[
        -1
    ]
    last.write_text(last.read_text()[:-20])  # a line cut by a kill
    monkeypatch.setattr(batches, "generate", real)
    report = evaluate(broken, base)  # the same object: the interruption left it unpatched
    assert (report.arms, report.paired) == (expected.arms, expected.paired)
    assert _answers(tmp_path / "broken") == _answers(tmp_path / "whole")


def test_finished_evaluation_asks_nothing_again(
    made: tinyrun.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(_config(made, tmp_path))
    monkeypatch.setattr(batches, "generate", None)
    again = evaluate(_config(made, tmp_path))
    assert (again.arms, again.paired) == (first.arms, first.paired)


def test_other_settings_do_not_mix_with_old_answers(made: tinyrun.Run, tmp_path: Path) -> None:
    evaluate(_config(made, tmp_path, arms={"base": None}))
    with pytest.raises(ConfigError, match=r"other settings \(max_new_tokens\)"):
        evaluate(_config(made, tmp_path, arms={"base": None}, max_new_tokens=3))


def test_user_errors(made: tinyrun.Run, tmp_path: Path) -> None:
    base = load_base(made.base)
    with pytest.raises(PatchError):
        evaluate(_config(made, tmp_path / "a", arms={"gone": tmp_path / "gone"}), base)
    records = []
    for record in read_records(made.records):
        turns = [turn.model_copy(update={"answer": None}) for turn in record.turns]
        records.append(record.model_copy(update={"answers": [], "turns": turns}))
    unscored = write_records(made.records.parent / "unscored.jsonl", records)
    with pytest.raises(RecordError, match="no accepted answer"):
        evaluate(_config(made, tmp_path / "b", records=unscored), base)


def test_limit_counts_clips(made: tinyrun.Run, tmp_path: Path) -> None:
    report = evaluate(_config(made, tmp_path, limit=2, arms={"base": None}))
    assert report.clips == 2 and report.arm("base").n == 6


def test_another_base_of_the_same_shape_gets_no_old_answers(
    made: tinyrun.Run, tmp_path: Path
) -> None:
    evaluate(_config(made, tmp_path, arms={"base": None}))
    with pytest.raises(ConfigError, match=r"other settings \(weights\)"):
        evaluate(_config(made, tmp_path, arms={"base": None}), tiny.base(seed=7))
    other = load_base(made.base)
    with torch.no_grad():
        next(other.inner.multi_modal_projector.parameters()).mul_(
            2
        )  # the language model is the same
    with pytest.raises(ConfigError, match=r"other settings \(weights\)"):
        evaluate(_config(made, tmp_path, arms={"base": None}), other)


def test_a_mistyped_arm_binds_no_folder(made: tinyrun.Run, tmp_path: Path) -> None:
    with pytest.raises(PatchError):
        evaluate(_config(made, tmp_path, arms={"sound": tmp_path / "ptach"}))
    evaluate(_config(made, tmp_path, arms={"sound": made.patch}))


def test_an_arm_may_be_called_like_a_channel(made: tinyrun.Run, tmp_path: Path) -> None:
    """And then does not feed another patch of the arm with the wrong tokens."""
    model = PatchedModel(load_base(made.base))
    settings = {"dim": read_config(made.patch).fusion.side_dim, "rate": 2.0}
    model.new_patch(
        "features", encoder="file", encoder_settings=settings, fusion={"hidden": 32}, seed=3
    )
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter.add_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.3
            )
    deaf = model.save_patch(tmp_path / "patch")
    said = {}
    for arm, patches in {
        "features": [deaf, made.patch],
        "both": [deaf, made.patch],
        "sound": made.patch,
    }.items():
        evaluate(_config(made, tmp_path / arm, arms={arm: patches}))
        said[arm] = [
            json.loads(line)["prediction"]
            for line in (tmp_path / arm / f"{arm}.jsonl").read_text().splitlines()
        ]
    assert said["features"] == said["both"] == said["sound"]
