"""Patch folders, checkpoints of the authors, and what trainings and evaluations leave behind."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import torch
from case import Case, all_of, tell
from pydantic import ValidationError

from helpers import paper, tiny, tinyrun, toy
from pave.bases import Base, load_base
from pave.cache import TokenCache
from pave.cli.settings import take_config
from pave.errors import ConfigError
from pave.evaluate import EvalConfig, evaluate
from pave.evaluate.report import Report
from pave.model import PatchedModel
from pave.paper import convert
from pave.texts import read_object
from pave.train import load_config, train
from pave.train.checkpoints import newest_checkpoint
from pave.train.progress import read_log

base = cache(tiny.base)
STEPS = {"steps": 2, "save_every": 1, "batch_clips": 1}


@cache
def official() -> Base:
    """The authors' base, without weights."""
    return load_base(paper.BASE, weights=False)


def build_patch(folder: Path) -> None:
    """A patch folder with a LoRA, and a clip to ask about."""
    tinyrun.patch(base(), folder / "patch", "audio")
    tinyrun.clip(folder / "clip.mp4", 0)


def ask(folder: Path) -> None:
    """Load a patch and ask with it: what it says of its encoder is then used."""
    tell("info", folder / "patch")
    model = PatchedModel(base())
    model.load_patch(folder / "patch", name="p")
    model.ask(folder / "clip.mp4", "Hm?", frames=2, max_new_tokens=1)


def build_checkpoint(folder: Path) -> None:
    """One of the authors' checkpoints."""
    shutil.copytree(paper.ROOT / "pave_tiny_lora", folder / "official")
    (folder / "args.yaml").write_text(json.dumps(paper.KWARGS))


def convert_checkpoint(folder: Path) -> None:
    """As `pave convert`."""
    convert(folder / "official", official(), paper.KWARGS, folder / "patch", channel="audio")


def build_run(folder: Path) -> None:
    """A training of two steps, killed behind the first."""
    toy.records(folder, clips=2, questions=1)
    train(toy.config(folder, **STEPS), base=base(), progress=False)
    shutil.rmtree(folder / "run" / "patch")
    shutil.rmtree(folder / "run" / "checkpoints" / "checkpoint-2")


def resume(folder: Path) -> None:
    """Go on with it: settings, note, log, checkpoints are read."""
    run = folder / "run"
    all_of(
        lambda: load_config(run / "settings.yaml"),
        lambda: take_config(["train", "--config", str(run / "settings.yaml")]),
        lambda: read_log(run / "train_log.jsonl"),
        lambda: newest_checkpoint(run / "checkpoints"),
        lambda: train(toy.config(folder, **STEPS), base=base(), progress=False),
    )


def read_settings(folder: Path) -> None:
    """As `pave train --config` and `pave eval --config` do."""
    run = folder / "run"
    all_of(
        lambda: load_config(run / "settings.yaml"),
        lambda: take_config(["train", "--config", str(run / "settings.yaml")]),
        lambda: take_config(["eval", "--config", str(run / "settings.yaml")]),
        lambda: read_log(run / "train_log.jsonl"),
        lambda: newest_checkpoint(run / "checkpoints"),
    )


def build_evaluation(folder: Path) -> None:
    """An evaluation of a patch, with its answers and results."""
    tinyrun.make(folder, clips=2, questions=2)
    evaluate(_evaluation(folder), base=base())


def _evaluation(folder: Path) -> EvalConfig:
    return EvalConfig(
        records=folder / "records.jsonl",
        out=folder / "out",
        arms={"base": None, "sound": [folder / "patch"]},
        frames=2,
        max_new_tokens=1,
        resamples=100,
        plot=False,
    )


def evaluate_again(folder: Path) -> None:
    """Go on with an evaluation."""
    evaluate(_evaluation(folder), base=base())


def read_results(folder: Path) -> None:
    """As a program reads the results; pave itself never does."""
    content = read_object(folder / "out" / "results.json", ConfigError, "evaluate again")
    # What does not fit the class is pydantic's to say, and whatever old rows lack is not there.
    with suppress(ValidationError, LookupError, TypeError, StopIteration):
        Report(**content)


def build_cache(folder: Path) -> None:
    """A token cache with a few entries, a failure and a remembered digest."""
    cache_of = TokenCache(folder / "cache", dtype=torch.bfloat16)
    (folder / "medium").write_bytes(b"1")
    os.utime(folder / "medium", (1e9, 1e9))  # a file that just changed is not remembered
    cache_of.content(folder / "medium")
    cache_of.fail("f" * 64, "no")
    for number in range(3):
        cache_of.put(f"{number:064x}", {"values": torch.ones(3, 2, 4), "times": torch.arange(3.0)})


def read_cache(folder: Path) -> None:
    """Every entry, found or not."""
    cache_of = TokenCache(folder / "cache")
    all_of(
        lambda: cache_of.content(folder / "medium"),
        lambda: cache_of.failure("f" * 64),
        *(partial(cache_of.get, f"{number:064x}") for number in range(3)),
    )


RUN = ("run/*.json", "run/*.yaml", "run/*.jsonl", "run/checkpoints/*/*")
# Not results.json: it is written anew, and a pipe in its place would be an output that waits.
ANSWERS = ("out/*.jsonl", "out/settings.json")
CASES = [
    Case("patch/patch", build_patch, ask, ("patch/**/*",), ready=base, sealed=True),
    Case("patch/authors", build_checkpoint, convert_checkpoint, ("official/*",), ready=official),
    Case("run/resume", build_run, resume, RUN, ready=base),
    Case("run/settings", build_run, read_settings, ("run/*.yaml", "run/*.jsonl"), ready=base),
    Case("run/evaluation", build_evaluation, evaluate_again, ANSWERS, ready=base),
    Case("run/results", build_evaluation, read_results, ("out/results.json",), ready=base),
    Case("run/cache", build_cache, read_cache, ("cache/**/*",)),
]
