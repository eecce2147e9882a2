"""`train`: from settings to a finished patch folder, through kills and restarts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import TrainingArguments

from pave.bases import Base, load_base
from pave.cache import TokenCache
from pave.data import Features, Record, group_by_clip, read_records
from pave.data.base_digests import digests_of
from pave.errors import TrainError
from pave.files import make_folder, read_object, write_text_atomically
from pave.model import PatchedModel
from pave.patches import read_config
from pave.patches.hub import locate
from pave.train.attention import packed_attention
from pave.train.batches import Plan, Sequences
from pave.train.checkpoints import newest_checkpoint, processes_of, step_of
from pave.train.collate import Collator
from pave.train.config import FREE_TO_CHANGE, TrainConfig
from pave.cpu import frozen_in_bf16, frozen_through_onednn
from pave.train.objective import AnswerModel
from pave.train.progress import Reporter, progress_bar, read_log
from pave.train.start import NAME, align_new, encoders_of, put_below, put_new
from pave.train.trainer import PatchTrainer, training_arguments

log = logging.getLogger(__name__)

LOG_NAME = "train_log.jsonl"


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
    """

    patch: Path
    steps: int
    resumed_from: int
    seconds: float
    encode_seconds: float
    final_loss: float
    trainable_parameters: int
    log: Path


def train(config: TrainConfig, *, base: Base | None = None, progress: bool = True) -> TrainResult:
    """Train a patch.

    The folder `config.out` gets `settings.yaml` (all settings, ready for `load_config`),
    `train_log.jsonl`, `checkpoints/` and, at the end, `patch/`. Called again after an interruption,
    it continues from the newest whole checkpoint and ends with the weights of an uninterrupted run.
    Under torchrun several processes share the work.

    Args:
        config: All settings.
        base: A loaded base to use instead of loading `config.base`; it is given back unpatched.
        progress: Show progress bars on a terminal.

    Raises:
        TrainError: If the folder holds a run with other settings, or the loss stops being a number.
        RecordError: If records or their media cannot be used.
        ConfigError: If settings do not fit the base.

    Example:
        >>> train(TrainConfig(records="train.jsonl", out="runs/audio", channel="audio", encoder="mel"))  # doctest: +SKIP
    """
    records = read_records(config.records)
    groups = group_by_clip(records)
    plan = Plan([len(group) for group in groups], config.questions_per_video, config.seed)
    checkpoints = config.out / "checkpoints"
    arguments = training_arguments(config, checkpoints, steps_of(config, plan, processes=1))
    if (
        arguments.world_size > 1
    ):  # which only the arguments know; warm-up and log follow from the steps
        arguments = training_arguments(
            config, checkpoints, steps_of(config, plan, arguments.world_size)
        )
    base = base or load_base(config.base, device=str(arguments.device), tower=False)
    if arguments.process_index == 0:
        _open_folder(config, records, base, arguments.world_size)
    arguments.distributed_state.wait_for_everyone()

    collator = Collator(base, packed=config.questions_per_video > 1)
    length = arguments.max_steps * config.batch_clips * config.accumulation * arguments.world_size
    patched = PatchedModel(base)
    try:
        base.use(config.inputs)
        below = put_below(patched, config)
        encoders = encoders_of(patched, below, config)
        features = Features(base, encoders, TokenCache(config.store_folder), frames=config.frames)
        data = Sequences(base, features, groups, plan, length, config.prompt)
        encode_seconds = _precompute(features, groups, config, arguments, progress)
        put_new(patched, encoders, below, config)
        if (
            NAME in encoders
            and config.align_steps
            and not newest_checkpoint(checkpoints, arguments.world_size)
        ):
            align_new(patched, groups, features, config)
        with (
            _precision(base, config),
            packed_attention(base, collator.packed, config.precision == "bf16"),
        ):
            return _run(
                AnswerModel(patched), config, arguments, data, collator, progress, encode_seconds
            )
    finally:
        if config.gradient_checkpointing:
            base.model.activation_checkpointing_disable()
        patched.unpatch()  # which also feeds the base as before


def steps_of(config: TrainConfig, plan: Plan, processes: int) -> int:
    """Optimiser steps of a run: as set, or as many as the epochs take."""
    if config.steps is not None:
        return config.steps
    sequences = (config.epochs or 1.0) * plan.per_epoch
    return max(1, math.ceil(sequences / (config.batch_clips * config.accumulation * processes)))


def _open_folder(
    config: TrainConfig, records: Sequence[Record], base: Base, processes: int
) -> None:
    """Make the run folder, or check that it holds this very run."""
    make_folder(config.out)
    settings = config.model_dump(mode="json")
    content = "\n".join(record.model_dump_json(exclude={"video", "channels"}) for record in records)
    identity = {name: value for name, value in settings.items() if name not in FREE_TO_CHANGE}
    identity["records"] = hashlib.sha256(content.encode()).hexdigest()
    identity["on_top_of"] = [read_config(locate(source)).files for source in config.on_top_of]
    identity["base"] = digests_of(
        base, TokenCache(config.store_folder)
    )  # it may lie elsewhere now, but must be the same
    note, checkpoints = config.out / "run.json", config.out / "checkpoints"
    if config.resume == "never":
        shutil.rmtree(checkpoints, ignore_errors=True)
        (config.out / LOG_NAME).unlink(missing_ok=True)
    elif (newest := newest_checkpoint(checkpoints)) and note.exists():
        before = read_object(note, TrainError, "use another folder, or resume=never to start over")
        changed = sorted(name for name in identity if before.get(name) != identity[name])
        if changed:
            raise TrainError(
                f"{config.out} holds a run with other {', '.join(changed)}; use another folder, "
                "or resume=never to start over"
            )
        if processes_of(newest) != processes:
            raise TrainError(
                f"{config.out} holds a run of {processes_of(newest)} processes, not {processes}; "
                "continue it with as many, or resume=never to start over"
            )
    write_text_atomically(note, json.dumps(identity, indent=1))
    write_text_atomically(config.out / "settings.yaml", yaml.safe_dump(settings, sort_keys=False))


def _precompute(
    features: Features,
    groups: Sequence[Sequence[Record]],
    config: TrainConfig,
    args: TrainingArguments,
    progress: bool,
) -> float:
    """Fill the store, each process its share; the seconds it took."""
    started = time.perf_counter()
    mine = [group[0] for group in groups[args.process_index :: args.world_size]]
    with progress_bar("encoding clips", progress and args.process_index == 0) as bar:
        task = bar.add_task("encode", total=len(mine), note="")
        report = features.precompute(
            mine, workers=config.workers, progress=lambda done, _: bar.update(task, completed=done)
        )
    args.distributed_state.wait_for_everyone()
    log.info(
        "tokens of %d clips computed, %d found in %s",
        report.computed,
        report.reused,
        features.cache.folder,
    )
    return time.perf_counter() - started


def _precision(base: Base, config: TrainConfig) -> contextlib.AbstractContextManager[None]:
    """How the frozen language model is held while a patch trains."""
    language = getattr(base.inner, base.family.language_model)
    return (
        frozen_in_bf16(language) if config.precision == "bf16" else frozen_through_onednn(language)
    )


def _run(
    model: AnswerModel,
    config: TrainConfig,
    args: TrainingArguments,
    data: Sequences,
    collator: Collator,
    progress: bool,
    encode_seconds: float,
) -> TrainResult:
    """Train, save the patch, and say what came out."""
    checkpoint = newest_checkpoint(Path(args.output_dir), args.world_size)
    resumed_from = step_of(checkpoint) if checkpoint else 0
    if checkpoint:
        log.info("resuming from %s", checkpoint)
    path = config.out / LOG_NAME
    with progress_bar("training", progress and args.process_index == 0) as bar:
        trainer = PatchTrainer(model, config, args, data, collator, [Reporter(path, bar)])
        started = time.perf_counter()
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = time.perf_counter() - started
    model.eval()
    rows = read_log(path)
    last = rows[-max(1, len(rows) // 10) :]
    result = TrainResult(
        patch=config.patch_folder,
        steps=args.max_steps,
        resumed_from=resumed_from,
        seconds=seconds,
        encode_seconds=encode_seconds,
        final_loss=sum(row["loss"] for row in last) / len(last) if last else math.nan,
        trainable_parameters=sum(parameter.numel() for parameter in trainer.trainable.values()),
        log=path,
    )
    if args.process_index == 0:
        model.patched.save_patch(config.patch_folder, NAME, training=summary(config, result, data))
    args.distributed_state.wait_for_everyone()
    return result


def summary(config: TrainConfig, result: TrainResult, data: Sequences) -> dict[str, Any]:
    """What the patch's card says about its training."""
    return {
        "records": config.records.name,
        "questions": sum(len(group) for group in data.groups),
        "clips": len(data.groups),
        **(
            {
                "on_top_of": [Path(source).name for source in config.on_top_of],
                "lora_below": config.lora_below,
            }
            if config.on_top_of
            else {}
        ),
        "steps": result.steps,
        "epochs": round(len(data) / data.plan.per_epoch, 3),
        "batch_clips": config.batch_clips,
        "questions_per_video": config.questions_per_video,
        "accumulation": config.accumulation,
        "frames": data.features.sampling.count,
        "lr_lora": config.lr_lora,
        "lr_fusion": config.lr_fusion,
        "lr_gate": config.lr_gate,
        "align_steps": config.align_steps,
        "align_share": config.align_share,
        "weight_decay": config.weight_decay,
        "precision": config.precision,
        "seed": config.seed,
        "final_loss": round(result.final_loss, 4),
        "seconds": round(result.seconds, 1),
        "torch": torch.__version__.split("+")[0],
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
