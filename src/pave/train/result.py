"""What came out of a run: the result that `train` gives back, and the summary in `patch.json`."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pave.data import clip_key
from pave.train.batches import Sequences
from pave.train.config import TrainConfig
from pave.train.lessons import Lessons
from pave.train.mixture import RecordFile
from pave.train.trainer_fields import decisive

FACTS_NAME = "training.json"
"""File of a checkpoint with what a patch's card would say of the training so far."""

# Settings that the card repeats as they are.
_REPEATED = (
    "batch_clips",
    "questions_per_video",
    "accumulation",
    "lr_lora",
    "lr_fusion",
    "lr_gate",
    "align_steps",
    "align_share",
    "weight_decay",
    "precision",
    "seed",
)


@dataclass(frozen=True)
class TrainResult:
    """What a run made.

    Attributes:
        patch: The patch folder.
        steps: Optimiser steps of the whole run, those before a resume included.
        resumed_from: Step of the checkpoint this call went on from, 0 for a fresh start.
        seconds: Wall time of training in this call.
        encode_seconds: Wall time of computing tokens that were not cached, in this call.
        final_loss: Mean loss per answer token over the last tenth of the log.
        trainable_parameters: Number of weights that trained.
        log: The log, JSON lines; see `pave.train.progress.Reporter`.
        best: The patch folder that did best in validation; None without one.
        validation: What there is to say of the validation: its `metric`, the `best` score and its
            `best_step`.
    """

    patch: Path
    steps: int
    resumed_from: int
    seconds: float
    encode_seconds: float
    final_loss: float
    trainable_parameters: int
    log: Path
    best: Path | None = None
    validation: Mapping[str, Any] = field(default_factory=dict)


def final_loss(rows: Sequence[Mapping[str, Any]]) -> float:
    """Mean loss over the last tenth of a log's rows, at least one; NaN for an empty log."""
    # A validation has none.
    losses = [row["loss"] for row in rows if row.get("loss") is not None]
    last = losses[-max(1, len(losses) // 10) :]
    if not last:
        return math.nan
    return float(sum(last) / len(last))


@dataclass(frozen=True)
class Trained:
    """How far a patch is trained that is saved.

    Attributes:
        steps: Optimiser steps so far.
        share: That as a share of the steps that the run was to take.
        loss: See `final_loss`.
        seconds: Of training, in this call.
    """

    steps: int
    share: float
    loss: float
    seconds: float


def summary(
    config: TrainConfig,
    trained: Trained,
    lessons: Lessons,
    data: Sequences,
    validation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the patch's card says about its training."""
    facts: dict[str, Any] = {
        "records": ", ".join(map(_source, config.files.values())),
        "questions": sum(len(group) for group in lessons.clips),
        "clips": _clips(config, lessons),
    }
    if lessons.shares:
        shares = {}
        for name, share in lessons.shares.items():
            shares[name] = round(share, 4)
        facts["share of batches"] = shares
    if config.counterfactual is not None:
        facts["cells"] = lessons.cells
        facts["counterfactual"] = config.counterfactual.model_dump()
    if config.modality_dropout is not None:
        facts["modality_dropout"] = config.modality_dropout
    if config.base_patches:
        facts["base_patches"] = [Path(source).name for source in config.base_patches]
        facts["base_lora"] = config.base_lora
    facts["steps"] = trained.steps
    facts["epochs"] = round(trained.share * len(data) / data.plan.per_epoch, 3)
    facts["frames"] = config.frames or data.features.base.settings.frames
    if config.align_clips is not None:
        facts["align_clips"] = f"{config.align_clips.name} ({len(lessons.to_align)} clips)"
    for name in _REPEATED:
        facts[name] = getattr(config, name)
    if decisive(config.trainer):
        facts["trainer"] = decisive(config.trainer)
    if validation:
        facts["validation"] = dict(validation)
    facts["final_loss"] = round(trained.loss, 4)
    facts["seconds"] = round(trained.seconds, 1)
    facts["torch"] = torch.__version__.split("+")[0]  # without the build, such as +cu130
    program, *words = sys.argv
    # Where the program lies is nobody's business who gets the patch.
    facts["command"] = shlex.join([Path(program).name, *words])
    return facts


def _source(file: RecordFile) -> str:
    """A file of records, and what was used of it where that is not all."""
    name = file.records.name
    if file.families is None:
        return name
    return f"{name} ({', '.join(file.families)})"


def _clips(config: TrainConfig, lessons: Lessons) -> int:
    """How many clips there are; of a mixture, several files may be about the same ones."""
    if config.mixture is None:
        return len(lessons.clips)
    return len({clip_key(members[0]) for members in lessons.clips})
