"""Trackers get the curves of a real run: their own readers find them in their files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import toy
from pave.train import train

pytestmark = pytest.mark.slow
STEPS = [1, 2, 3, 4]


def _needs(package: str) -> object:
    return pytest.importorskip(package, reason=f"needs the extra of pave called {package}")


def _log(folder: Path, tracker: str) -> list[dict[str, float]]:
    """The rows of a short run that tells a tracker."""
    toy.records(folder, clips=5, questions=1)
    settings = {"steps": 4, "batch_clips": 1, "validation": {"clips": 1, "every": 2}}
    config = toy.config(folder, track=(tracker,), **settings)
    train(config, base=toy.sharp_base(), progress=False)
    lines = (config.out / "train_log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_tensorboard_reads_the_losses_and_scores_of_the_log(tmp_path):
    _needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = _log(tmp_path, "tensorboard")
    reader = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    reader.Reload()
    losses = {event.step: event.value for event in reader.Scalars("train/loss")}
    assert losses == {row["step"]: pytest.approx(row["loss"]) for row in rows if "loss" in row}
    assert list(losses) == STEPS
    scores = {event.step: event.value for event in reader.Scalars("eval/accuracy")}
    assert scores == {row["step"]: row["validation"] for row in rows if "validation" in row}
    for name in ("lr_lora", "grad_norm", "residual_ratio", "tokens_per_second", "seconds_left"):
        assert [event.step for event in reader.Scalars(f"train/{name}")] == STEPS


def test_trackio_reads_the_losses_and_scores_of_the_log(tmp_path, monkeypatch):
    # It looks at this once, when it is imported.
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    _needs("trackio")
    rows = _log(tmp_path, "trackio")

    def values(metric: str) -> list[float]:
        words = ["get", "metric", "--project", "pave", "--run", "run", "--metric", metric, "--json"]
        program = "from trackio.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
        )
        return [event["value"] for event in json.loads(done.stdout)["values"]]

    assert values("train/loss") == pytest.approx([row["loss"] for row in rows if "loss" in row])
    assert values("eval/accuracy") == [row["validation"] for row in rows if "validation" in row]
    assert len(values("train/residual_ratio")) == len(STEPS)
