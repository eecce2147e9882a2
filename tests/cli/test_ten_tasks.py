"""Every task by command line, from public annotation files to a comparison: prepare, extract, train, eval, score, compare.

The data sets are invented (`minisets`), the base is tiny and training takes two steps: this is about the way there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import minisets
import tiny
import tinyrun
from pave.cli import main
from pave.metrics import captions
from pave.tasks import TASKS, Task, get_task
from pave.tasks.files import read_annotations
from pave.tasks.prepare import convert

Run = Callable[..., Any]
DIM = 8
RESAMPLES = ("--resamples", 100)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    made = tiny.base()
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinyrun.clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 0)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command that must succeed; what it printed, parsed where it speaks JSON."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    monkeypatch.setattr(captions, "find_java", lambda: None)  # its scores are held elsewhere, and it takes seconds to start

    def run(*words: object) -> Any:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code == 0, (words, err)
        return json.loads(out) if "--json" in words else out

    return run


def _train_split(task: Task, data: minisets.MiniSet) -> str:
    return "train" if "train" in task.splits else data.split


def _features(task: Task, data: minisets.MiniSet, folder: Path) -> Path:
    """Precomputed features of every example, under the names that the task looks for."""
    for files, split in ((data.annotations, data.split), (data.learnt, _train_split(task, data))):
        for example in convert(task, read_annotations(files), split):
            file = folder / example.feature[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(torch.randn(3, 2, DIM), file)
    return folder


def _pictures(data: minisets.MiniSet) -> None:
    """Real pictures where the data set is one of pictures."""
    rng = np.random.default_rng(0)
    for first in data.media.rglob("0.jpg"):
        for number in range(3):
            Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(first.with_name(f"{number}.jpg"))


def _prepared(run: Run, name: str, annotations: list[Path], media: Path, split: str, out: Path, features: Path | None) -> Path:
    where = ["--features", features] if features is not None else []
    words = ["--annotations", *annotations, "--media", media, "--split", split, "--out", out, *where]
    assert run("prepare", name, *words, "--json")["missing"] == []
    return out


@pytest.mark.parametrize("name", TASKS)
def test_from_annotations_to_a_comparison(name: str, run: Run, base: Path, clip: Path, tmp_path: Path, capsys: Any) -> None:
    task, data = get_task(name), minisets.make(name, tmp_path, clip)
    _pictures(data)
    heard = task.channel == "audio"
    features = None if heard else _features(task, data, tmp_path / "features")
    channel = ["--channel", "audio", "--encoder", "mel"] if heard else ["--channel", "features", "--encoder", "file"]
    channel += [] if heard else ["--encoder-settings.dim", str(DIM)]
    asked = _prepared(run, name, data.annotations, data.media, data.split, tmp_path / "asked.jsonl", features)
    learnt = _prepared(run, name, data.learnt, data.media, _train_split(task, data), tmp_path / "learnt.jsonl", features)

    store, clips = tmp_path / "store", ["--base", base, "--frames", 3]
    extracted = run("extract", learnt, *channel, "--visual", *clips, "--store", store, "--json")
    assert extracted["made"] > 0 and extracted["skipped"] == []
    small = ["--steps", 2, "--batch-clips", 2, "--lora.rank", 2, "--fusion.hidden", 16, "--task", name]
    trained = run("train", "--records", learnt, *clips, "--store", store, *channel, *small, "--out", tmp_path / "run")
    patch, out = tmp_path / "run" / "patch", tmp_path / "eval"
    assert str(patch) in trained

    words = ["eval", "--records", asked, *clips, "--store", store, "--task", name, "--out", out, *RESAMPLES]
    arms = ["--arms.base", "none", "--arms.patch", patch]
    if task.score is None:
        assert main([str(word) for word in [*words, *arms]]) == 2
        assert "only trained on" in capsys.readouterr().err
        return
    report = run(*words, *arms, "--json")
    scores = report["task"]
    assert (scores["scored"], scores["records"]) == (data.examples, data.examples)
    assert scores["expected"] == task.splits[data.split] and scores["prompt"] == task.prompt.hash
    assert report["settings"]["max_new_tokens"] == task.max_new_tokens
    assert task.title in (out / "report.md").read_text() and (out / "plot.png").is_file()

    rows = tmp_path / "patch.rows.jsonl"
    again = run("score", name, "--predictions", out / "patch.jsonl", "--records", asked, "--rows", rows, *RESAMPLES, "--json")
    assert again == scores["arms"]["patch"]
    assert rows.read_bytes() == (out / "items" / "patch.jsonl").read_bytes()
    compared = run("compare", out / "items" / "base.jsonl", rows, *RESAMPLES, "--json")
    gaps = {(row["score"], row["label"]): row["difference"] for row in scores["gaps"]}
    assert {(row["score"], row["label"]): row["difference"] for row in compared["rows"]} == gaps
    assert f"{data.examples} of {data.examples} items scored" in run(*words, *arms)
