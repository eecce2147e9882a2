"""Trainings and evaluations of a benchmark that goes on where it was interrupted."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from pave.files import make_folder, write_text_atomically
from pave.train import TrainConfig
from pave_world import make_world
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, TRAIN
from pave_world.films.make import RECORDS


def parser_of(about: str, seeds: Sequence[int], out: str) -> argparse.ArgumentParser:
    """The words that every benchmark over several seeds takes; sizes are its own.

    Args:
        about: Its module docstring, whose first line is the help.
        seeds: Which worlds it measures by default.
        out: The folder of its runs by default.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--arms", nargs="+", help="some of them (default: all)")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--write-only", action="store_true", help="run nothing")
    return parser


def claim(folder: Path, note: str, text: str) -> None:
    """Make a folder belong to settings, which are written down in it.

    Raises:
        SystemExit: If it holds runs with other ones, which are not to be compared with these.
    """
    file = folder / note
    if file.is_file() and json.loads(file.read_text("utf-8")) != json.loads(text):
        raise SystemExit(f"{folder} holds runs with other settings; choose another --out")
    make_folder(folder)
    write_text_atomically(file, text)


def make_clips(
    world: DemoConfig, version: int = 1, *, held_out_pairs: bool = False
) -> dict[str, Path]:
    """Make the clips of both splits that are not there.

    Args:
        world: Its settings.
        version: Of the world.
        held_out_pairs: Whether two held-out clips each share a question and answer it differently.

    Returns:
        Split -> its records.
    """
    files = {}
    for split in (TRAIN, TEST):
        files[split] = world.world(split) / RECORDS
        if files[split].is_file():
            continue
        make_world(
            world.world(split),
            split,
            world.clips(split),
            world.seed,
            world.channel,
            questions_per_clip=world.questions_per_clip,
            version=version,
            pairs=held_out_pairs and split == TEST,
        )
    return files


def world_settings(world: DemoConfig) -> dict[str, Any]:
    """What makes answers what they are; written beside them.

    The precision depends on the processor: see `how_trained`.
    """
    return world.model_dump(mode="json", exclude={"out", "workers", "precision"})


def present_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that were written down earlier, as `world_settings` would write them now.

    A field that did not exist yet has its default. Unreadable ones are like no others.
    """
    try:
        return world_settings(DemoConfig.model_validate(settings))
    except ValidationError:
        return dict(settings)


def is_trained(settings: TrainConfig) -> bool:
    """Whether a training has ended."""
    return (settings.patch_folder / "patch.json").is_file()


def train(settings: TrainConfig) -> bool:
    """Train, unless that is done; its processor seconds are written down beside the run.

    Raises:
        SystemExit: If the run was begun with other settings.
    """
    values = settings.model_dump(mode="json", exclude_defaults=True)
    folder = settings.out.parent
    name = settings.out.name
    file = folder / f"{name}.yaml"
    if file.is_file() and yaml.safe_load(file.read_text("utf-8")) != values:
        raise SystemExit(f"{settings.out} was trained with other settings; choose another --out")
    if is_trained(settings):
        return True
    make_folder(folder)
    write_text_atomically(file, yaml.safe_dump(values, sort_keys=False))
    return run(["train", "--config", str(file)], folder / f"{name}.json")


def seconds_of(settings: TrainConfig) -> float:
    """Processor seconds that a training has taken."""
    file = settings.out.parent / f"{settings.out.name}.json"
    return float(json.loads(file.read_text("utf-8"))["cpu_seconds"])


def training_of(settings: TrainConfig) -> dict[str, Any]:
    """How a finished training was made, as it is kept beside its answers.

    The type of its numbers depends on the processor, so arms of one world may differ in it.
    """
    return {
        "cpu_seconds": seconds_of(settings),
        "precision": settings.precision,
        "architecture": platform.machine(),
        "torch": torch.__version__,
    }


def how_trained(trainings: Iterable[Mapping[str, Any]]) -> str:
    """The types, processors, and versions of several trainings, in words.

    Example:
        >>> how_trained([{"precision": "bf16", "architecture": "x86_64", "torch": "2.13.0"}])
        'trained in bf16 on x86_64, torch 2.13.0'
    """
    found = list(trainings)
    texts = []
    for name in ("precision", "architecture", "torch"):
        different = sorted({str(training[name]) for training in found})
        texts.append(" and ".join(different))
    numbers, processor, version = texts
    return f"trained in {numbers} on {processor}, torch {version}"


def run(words: Sequence[str], cost: Path | None = None) -> bool:
    """Run a verb in a process of its own, and add its processor seconds to those in a file."""
    print(f"\n== pave {' '.join(words)}", flush=True)
    before = _seconds()
    done = subprocess.run([sys.executable, "-m", "pave", *words], env=_environment(), check=False)
    if cost is not None:
        spent = _seconds() - before
        if cost.is_file():  # an interrupted run went on
            spent += json.loads(cost.read_text("utf-8"))["cpu_seconds"]
        write_text_atomically(cost, json.dumps({"cpu_seconds": round(spent, 1)}))
    return done.returncode == 0


def _seconds() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _environment() -> dict[str, str]:
    """One thread: seconds of the processor then mean the same beside other work."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
