"""A toy training set: only the channel tells the answer, every clip shows the same frames.

records = toy.records(folder, clips=8)           # writes frames, features and records.jsonl
toy.config(folder, steps=4, channel=None)        # a TrainConfig for it, LoRA-only
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers import launch, tiny
from pave.data import Record, Turn, write_records
from pave.train import TrainConfig, TrainResult, load_config, train
from pave.train.checkpoints import newest_checkpoint, step_of

DIM = 8
SOUNDS = ("dog", "horse")


def records(
    folder: Path, clips: int = 4, questions: int = 3, with_channel: int | None = None
) -> list[Record]:
    """Write a set; the first `with_channel` clips (all by default) have the channel."""
    shown = frames(folder / "frames")
    chance = np.random.default_rng(0)
    made = []
    for clip in range(clips):
        kind = clip % len(SOUNDS)
        values = chance.normal(size=(5 + clip % 3, 1, DIM)).astype(np.float32) * 0.3
        values[..., kind] += 3
        np.save(folder / f"{clip}.npy", values)
        has = with_channel is None or clip < with_channel
        for question in range(questions):
            turn = Turn(question="What" + "?" * question, answer=SOUNDS[kind])
            channels = {"features": str(folder / f"{clip}.npy")} if has else {}
            made.append(
                Record(id=f"{clip}-{question}", video=str(shown), channels=channels, turns=[turn])
            )
    write_records(folder / "records.jsonl", made)
    return made


def frames(folder: Path, seed: int = 0) -> Path:
    """Write a folder of frames."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(tiny.frames(4, seed=seed).pixels):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


def config(folder: Path, out: str = "run", **overrides: Any) -> TrainConfig:
    """Settings for the set in `folder`; dotted names are given with a double underscore."""
    values: dict[str, Any] = {
        "records": folder / "records.jsonl",
        "out": folder / out,
        "cache": folder / "store",
        "channel": "features",
        "encoder": "file",
        "encoder_settings": {"dim": DIM, "rate": 2.0},
        "fusion": {"hidden": 16, "heads": 2, "layers": 1},
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
        "frames": 4,
        "log_every": 1,
    }
    values |= {name.replace("__", "."): value for name, value in overrides.items()}
    if values["channel"] is None:
        values |= {"encoder": None, "encoder_settings": {}, "fusion": {}}
    return load_config(None, values)


def sharp_base() -> Any:
    """A tiny base whose head can be certain; no logit of the random one is large enough."""
    base = tiny.base()
    base.model.lm_head.weight.data.mul_(5)
    return base


def weights(patch: Path) -> dict[str, bytes]:
    """All files of weights of a patch, to be compared bit for bit."""
    found = {}
    for file in sorted(patch.rglob("*.safetensors")):
        found[str(file.relative_to(patch))] = file.read_bytes()
    assert found
    return found


def gone_on(config: TrainConfig) -> TrainResult:
    """Train, take off the patch and the last checkpoint, and train on to the same bits.

    Returns:
        What the second run gave, which went on from the checkpoint before.
    """
    whole = train(config, base=tiny.base(), progress=False)
    wanted = weights(whole.patch)
    checkpoints = config.out / "checkpoints"
    last = newest_checkpoint(checkpoints)
    assert last is not None
    shutil.rmtree(last)
    shutil.rmtree(whole.patch)
    before = newest_checkpoint(checkpoints)
    assert before is not None
    again = train(config, base=tiny.base(), progress=False)
    assert again.resumed_from == step_of(before)
    assert weights(again.patch) == wanted
    return again


def killed(program: str, *words: object) -> None:
    """Run a program that has to kill itself, in a process of its own."""
    environment = launch.environment(OMP_NUM_THREADS=str(torch.get_num_threads()))
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
