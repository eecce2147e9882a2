"""Noisy clips with questions, a saved tiny base and a random patch: what an evaluation needs.

folder = tinyrun.make(tmp_path)      # records.jsonl, clips, base/, patch/, lora/; a second or two
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import tiny, tiny_patch
from pave.bases import Base
from pave.data import Record, Turn, write_records
from pave.media import write_video
from pave.model import PatchedModel
from pave.patches import LoraSpec

RATE = 16_000


@dataclass(frozen=True)
class Run:
    """Paths of what `make` wrote."""

    records: Path
    base: Path
    patch: Path
    lora: Path
    loud: Path
    silent: Path


def clip(path: Path, seed: int, sound: bool = True) -> Path:
    """One second of coloured noise, with noise to hear unless told otherwise."""
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(8)]
    write_video(
        path,
        frames,
        8,
        (rng.standard_normal(RATE) * 0.1).astype(np.float32) if sound else None,
        RATE,
    )
    return path


def patch(base: Base, folder: Path, channel: str | None, seed: int = 0) -> Path:
    """Save a patch with random weights, so that it changes what the base says."""
    model = PatchedModel(base)
    name = model.new_patch(
        channel,
        name="p",
        lora=LoraSpec(rank=2),
        fusion=None if channel is None else {"hidden": 32},
        seed=seed,
    )
    tiny_patch.shake(model, seed)
    model.save_patch(folder, name=name)
    model.unpatch()
    return folder


def make(folder: Path, clips: int = 4, questions: int = 3) -> Run:
    """Write everything; clip 2 is silent and its records have no sound channel."""
    base = tiny.base()
    base.model.save_pretrained(folder / "base")
    base.tokenizer.save_pretrained(folder / "base")
    records = []
    for number in range(clips):
        video = clip(folder / f"clip{number}.mp4", number, sound=number != 2)
        for asked in range(questions):
            turns = [Turn(question="Hm?" * (asked + 1), answer="dog")]
            meta = {"family": f"f{asked}", "channel": "audio" if asked < 2 else "video"}
            channels = {} if number == 2 else {"audio": str(video)}
            records.append(
                Record(
                    id=f"{number}-{asked}",
                    video=str(video),
                    channels=channels,
                    turns=turns,
                    meta=meta,
                )
            )
    return Run(
        records=write_records(folder / "records.jsonl", records),
        base=folder / "base",
        patch=patch(base, folder / "patch", "audio"),
        lora=patch(base, folder / "lora", None, seed=1),
        loud=folder / "clip0.mp4",
        silent=folder / "clip2.mp4",
    )
