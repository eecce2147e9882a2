"""`train`: from settings to a finished patch folder, through kills and restarts.

records, grouped by clip
-> a plan of what is trained when
-> the base, and the run folder that belongs to this very run
-> base patches, encoders, the token cache filled
-> the fresh patch, its aligned start
-> optimiser steps, from the newest checkpoint on
-> the patch folder
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments, set_seed

from pave.arguments import as_kind
from pave.bases import Base, load_base
from pave.bases.plain import as_base
from pave.cache import TokenCache
from pave.data import Features, Record, clip_key
from pave.errors import ConfigError
from pave.launcher import must_train_together
from pave.model import PatchedModel
from pave.patches.parts import part_key
from pave.placement import running_on
from pave.texts import counted
from pave.train.batches import Sequences
from pave.train.checkpoints import load_weights, newest_checkpoint, processes_of, step_of
from pave.train.collate import Collator
from pave.train.config import TrainConfig
from pave.train.folder import LOG_NAME, alone_in, open_folder
from pave.train.gated import Gating, centre_gates
from pave.train.held import AsTrained
from pave.train.held_out import Exam, split_files, tell_shared
from pave.train.lessons import Lessons, lessons_of, read_clips, read_files
from pave.train.objective import AnswerModel
from pave.train.origin import NAME, Origin, origin_of
from pave.train.plans import Schedule
from pave.train.precision import (
    base_dtype,
    check_products,
    check_trains,
    settled_precision,
)
from pave.train.progress import Reporter, progress_bar, read_log
from pave.train.result import Trained, TrainResult, final_loss, summary
from pave.train.sharded import check_sharded, load_in_turns
from pave.train.start import (
    add_new_patch,
    align_new_patch,
    appended_tokens,
    load_base_patches,
    make_encoders,
)
from pave.train.stopping import Stop
from pave.train.together import first_does, must_share, told, whole
from pave.train.tracking import check_trackers, tracking
from pave.train.trainer import PatchTrainer, training_arguments
from pave.train.validator import Validator, step_of_patch
from pave.train.zero import check_zero

log = logging.getLogger(__name__)

Facts = Callable[[Trained, Mapping[str, Any]], dict[str, Any]]
"""How far a patch is trained, what its validation says -> what its card says."""


def train(
    config: TrainConfig,
    *,
    base: Base | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train a patch.

    The folder `config.out` gets `settings.yaml` (all settings, ready for `load_config`),
    `train_log.jsonl`, `log.csv`, `run.html`, `checkpoints/` and, at the end, `patch/`. Called again
    after an interruption, it continues from the newest whole checkpoint and ends with the weights
    of an uninterrupted run. Ctrl-C and SIGTERM end it after the step, with a checkpoint. Under
    torchrun several processes share the work.

    Args:
        config: All settings.
        base: A loaded base to use instead of loading `config.base`, in its own type; it is given
            back unpatched.
        progress: Show progress bars on a terminal.

    Raises:
        TrainError: If the folder holds a run with other settings, another process trains in it, or
            the loss stops being a number.
        RecordError: If records or their media cannot be used.
        ConfigError: If settings do not fit the base.

    Example:
        >>> config = TrainConfig(records="train.jsonl", out="runs/lora-only")
        >>> train(config).patch  # doctest: +SKIP
        PosixPath('runs/lora-only/patch')
    """
    as_kind(config, TrainConfig, "the settings of a training are a pave.TrainConfig")
    with running_on(config.device) as device:
        settled = {"precision": settled_precision(config.precision, device)}
        return _train(config.model_copy(update=settled), base, device, progress)


def _train(
    config: TrainConfig, base: Base | None, device: torch.device, progress: bool
) -> TrainResult:
    """Train with a settled precision on a device."""
    _check_settings(config)
    files, exam = split_files(config, read_files(config))
    lessons = replace(lessons_of(config, files), exam=exam, to_align=read_clips(config))
    args = _arguments(config, lessons.plan, device)
    _check_validation(config, args.max_steps)

    check_zero(config, args)

    with contextlib.ExitStack() as held:
        held.enter_context(whole(args))
        must_share(config, args)
        ours = _loaded(config, base, args)
        # Read before anything is written: what does not fit must not bind the folder.
        origin = origin_of(config, ours)
        # Only the first process writes there; what stops it stops all.
        first_does(args, lambda: held.enter_context(alone_in(config.out)))

        def open_it() -> None:
            records = chain(*files.values())
            open_folder(
                config,
                records,
                ours,
                args.world_size,
                exam=exam,
                origin=origin,
                to_align=lessons.to_align,
            )

        first_does(args, open_it)
        return _train_in_folder(config, ours, lessons, args, origin=origin, progress=progress)


def _train_in_folder(
    config: TrainConfig,
    base: Base,
    lessons: Lessons,
    args: TrainingArguments,
    *,
    origin: Origin | None,
    progress: bool,
) -> TrainResult:
    """Train in a folder that is this run's."""
    collator = Collator(base, config.questions_per_video > 1, _gates(config))
    with patched_as(base, config) as patched:
        base_patches = load_base_patches(patched, config)
        encoders = make_encoders(patched, base_patches, config, origin)
        cache = TokenCache(config.cache_folder)
        appended = appended_tokens(patched, base_patches, config)
        features = Features(base, encoders, cache, frames=config.frames, appended=appended)
        data = _sequences(base, features, lessons, config, args)
        encode_seconds = _fill_cache(data, lessons, config, args, progress)
        add_new_patch(patched, encoders, base_patches, config)
        centre_gates(patched, lessons.groups)
        # Not each by itself: one that saw another checkpoint would start at another step.
        checkpoint = told(args, newest_checkpoint(Path(args.output_dir)))
        # Only at the very start: a resumed run has moved on from there.
        if checkpoint is None and origin is not None:
            origin.fill(patched)
        elif checkpoint is None:
            align_new_patch(
                patched, _learnt_from(lessons), features, config, _aligned_from(lessons)
            )
        model = AnswerModel(patched, _margin(config))

        def facts(trained: Trained, said: Mapping[str, Any]) -> dict[str, Any]:
            found = summary(config, trained, lessons, data, said)
            if origin is not None:
                found["start_from"] = origin.said
            return found

        with AsTrained(base, config) as held, tracking(config.out):
            trainer = PatchTrainer(model, config, args, data, collator)
            trainer.describe = partial(_described, trainer, facts)
            if lessons.exam is not None:
                trainer.validator = _validator(trainer, data, lessons.exam, held, facts)
            seconds = _fit(trainer, checkpoint, progress)
        model.eval()
        result = _result(trainer, checkpoint, seconds, encode_seconds)
        if args.process_index == 0:
            training = facts(_trained(trainer, seconds), result.validation)
            patched.save_patch(result.patch, NAME, training=training, dtype=config.patch_dtype)
        args.distributed_state.wait_for_everyone()
    return result


def _check_settings(config: TrainConfig) -> None:
    """Refuse what no machine or record would mend."""
    check_trackers(config.track)
    if config.lora is not None and config.lora.use_dora and config.precision == "bf16":
        raise ConfigError(
            "lora.use_dora needs precision=fp32: in bf16 the lengths of rows are rounded, so a "
            "fresh patch would differ from the base"
        )


def _margin(config: TrainConfig) -> float:
    """By how much a right answer is to lead; of no account without wrong ones."""
    if config.counterfactual is None:
        return 1.0
    return config.counterfactual.margin


def _result(
    trainer: PatchTrainer, checkpoint: Path | None, seconds: float, encode_seconds: float
) -> TrainResult:
    """What the run made, but for the patch itself."""
    config = trainer.settings
    best, said = _best(trainer)
    resumed_from = 0  # a fresh start
    if checkpoint is not None:
        resumed_from = step_of(checkpoint)
    return TrainResult(
        patch=config.patch_folder,
        steps=trainer.state.global_step,
        resumed_from=resumed_from,
        seconds=seconds,
        encode_seconds=encode_seconds,
        final_loss=final_loss(read_log(config.out / LOG_NAME)),
        trainable_parameters=sum(p.numel() for p in trainer.trainable.values()),
        log=config.out / LOG_NAME,
        best=best,
        validation=said,
    )


def steps_of(config: TrainConfig, plan: Schedule, processes: int) -> int:
    """Optimiser steps of a run: as set, or as many as the epochs take."""
    if config.steps is not None:
        return config.steps
    sequences = (config.epochs or 1.0) * plan.per_epoch
    return max(1, math.ceil(sequences / (config.batch_clips * config.accumulation * processes)))


def _check_validation(config: TrainConfig, steps: int) -> None:
    """Refuse a validation that would come at the end alone, unless it was asked for."""
    if config.validation is None or config.validation.every is None:
        return
    if config.validation.every > steps:
        raise ConfigError(
            f"validation.every is {config.validation.every}, and the run has "
            f"{counted(steps, 'step')}, so nothing would be validated before its end; set it lower"
        )


def _loaded(config: TrainConfig, given: Base | None, args: TrainingArguments) -> Base:
    """The base as this process holds it: whole, or a share of it."""
    if config.engine == "fsdp":
        check_sharded(config, args, given)
        return load_in_turns(lambda: base_of(config, None, torch.device("cpu")), args)
    return base_of(config, given, args.device)


def base_of(config: TrainConfig, given: Base | None, device: torch.device) -> Base:
    """The base in the run's precision, without its tower; or the one that was given, looked at."""
    assert config.precision != "auto"  # settled by now
    if given is None:
        dtype = base_dtype(config.base, config.precision)
        given = load_base(config.base, dtype=dtype, tower=False, **config.on(device))
    else:
        check_trains(as_base(given).dtype, config.precision)
    check_products(given, config.precision)
    return given


def _arguments(config: TrainConfig, plan: Schedule, device: torch.device) -> TrainingArguments:
    """The Trainer's settings. How many processes train, only they know once they are made."""
    folder = config.out / "checkpoints"
    args = training_arguments(config, folder, steps_of(config, plan, processes=1), device)
    must_train_together(args.world_size, device.type)
    if args.world_size == 1:
        return args
    if config.device_map is not None:
        raise ConfigError(
            f"device_map spreads a base over the GPUs of one process, but {args.world_size} "
            "processes train; start one, or leave device_map out"
        )
    if config.device.startswith("cuda:"):
        raise ConfigError(
            f"device {config.device}: {args.world_size} processes train, each on its own GPU; "
            "leave device out"
        )
    # Warm-up and log follow from the steps, and the steps from the number of processes.
    return training_arguments(config, folder, steps_of(config, plan, args.world_size), device)


def _sequences(
    base: Base, features: Features, lessons: Lessons, config: TrainConfig, args: TrainingArguments
) -> Sequences:
    """The sequences of the whole run, over all processes."""
    length = args.max_steps * config.batch_clips * config.accumulation * args.world_size
    absent: dict[str, float] = {}
    if config.modality_dropout is not None:
        absent = dict.fromkeys(config.parts, config.modality_dropout)
    gating = None
    if config.gated:
        gating = Gating(_gates(config), lessons.for_gate)
    return Sequences(
        base,
        features,
        lessons.groups,
        lessons.plan,
        int(length),
        prompt=config.prompt,
        wrong=lessons.wrong,
        absent=absent,
        gating=gating,
    )


def _gates(config: TrainConfig) -> tuple[str, ...]:
    """Names of the tokens that question gates mute."""
    names = []
    for channel in config.gated:
        name = part_key(NAME, channel, len(config.parts))
        names.append(name)
    return tuple(names)


def _learnt_from(lessons: Lessons) -> Sequence[Sequence[Record]]:
    """The clips from which fusion and LoRA learn: all but those of question gates."""
    for_gate = _gate_keys(lessons)
    kept = []
    for group in lessons.clips:
        key = clip_key(group[0])
        if key not in for_gate:
            kept.append(group)
    return kept


def _aligned_from(lessons: Lessons) -> list[Record]:
    """The clips of `align_clips` but those of question gates, which are to be new to the fusion."""
    for_gate = _gate_keys(lessons)
    kept = []
    for record in lessons.to_align:
        key = clip_key(record)
        if key not in for_gate:
            kept.append(record)
    gone = len(lessons.to_align) - len(kept)
    if gone:  # never silently: the user has named them
        log.info(
            "align_clips: %s left out, from which the question gate learns",
            counted(gone, "clip"),
        )
    return kept


def _gate_keys(lessons: Lessons) -> set[str]:
    """What clips of question gates show."""
    keys = set()
    for number in lessons.for_gate:
        # By what they show, since clips and groups are numbered apart.
        record = lessons.groups[number][0]
        keys.add(clip_key(record))
    return keys


@contextlib.contextmanager
def patched_as(base: Base, config: TrainConfig) -> Iterator[PatchedModel]:
    """The base to put patches on; afterwards it is plain again, whatever happened."""
    patched = PatchedModel(base)
    chat = base.chat
    try:
        base.use(config.inputs.asked)
        yield patched
    finally:
        if config.gradient_checkpointing:
            base.model.activation_checkpointing_disable()
        patched.unpatch()  # which also feeds the base as before
        base.chat = chat  # base patches may have asked for another


def _fill_cache(
    data: Sequences,
    lessons: Lessons,
    config: TrainConfig,
    args: TrainingArguments,
    progress: bool,
) -> float:
    """Compute the tokens that are not cached yet, each process its share; the seconds it took."""
    started = time.perf_counter()
    # Cells have the tokens of the clips that they are made of.
    mine = [group[0] for group in lessons.clips[args.process_index :: args.world_size]]
    # What is validated on is asked from the same cache.
    trained_on = len(mine)
    if lessons.exam is not None:
        mine += lessons.exam.records[args.process_index :: args.world_size]
    mine += lessons.to_align[args.process_index :: args.world_size]
    with progress_bar("encoding clips", progress and args.process_index == 0) as bar:
        task = bar.add_task("encode", total=len(mine), note="")

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done)

        report = data.features.precompute(mine, workers=config.workers, progress=move)
    args.distributed_state.wait_for_everyone()
    if lessons.exam is not None:
        tell_shared(data.features, mine[:trained_on], lessons.exam.records, config)
    data.must_fit(lessons.groups[args.process_index :: args.world_size])
    log.info(
        "tokens of %d clips computed, %d found in %s",
        report.computed,
        report.reused,
        config.cache_folder,
    )
    return time.perf_counter() - started


def _validator(
    trainer: PatchTrainer,
    data: Sequences,
    exam: Exam,
    held: AsTrained,
    facts: Facts,
) -> Validator:
    """What scores the patch while it trains."""
    config, patched = trainer.settings, trainer.patched

    def write(folder: Path, step: int) -> None:
        training = _described(trainer, facts)
        patched.save_patch(folder, NAME, training=training, dtype=config.patch_dtype)

    validator = Validator(patched, data.features, exam, config, as_used=held.paused, write=write)
    log.info(
        "validating %d questions about %d clips every %d steps: %s (%s)",
        len(exam.records),
        validator.clips,
        validator.every,
        exam.metric,
        exam.task.title,
    )
    return validator


def _described(trainer: PatchTrainer, facts: Facts) -> dict[str, Any]:
    """What a patch's card would say if the patch were saved now."""
    seconds = 0.0
    # Of this call alone, as the result has it.
    if trainer.reporter is not None:
        seconds = time.perf_counter() - trainer.reporter.started
    said: Mapping[str, Any] = {}
    if trainer.validator is not None:
        said = trainer.validator.said
    return facts(_trained(trainer, seconds), said)


def _trained(trainer: PatchTrainer, seconds: float) -> Trained:
    """How far the patch is trained."""
    steps = trainer.state.global_step
    reporter = trainer.reporter
    rows: Sequence[Mapping[str, Any]]
    if reporter is not None and reporter.files is not None:
        # The file itself may be long, and checkpoints come often.
        rows = reporter.files.rows
    else:
        rows = read_log(trainer.settings.out / LOG_NAME)
    share = steps / trainer.args.max_steps
    return Trained(steps, share, final_loss(rows), seconds)


def _best(trainer: PatchTrainer) -> tuple[Path | None, dict[str, Any]]:
    """The patch that did best in validation, if one was kept, and what is said of it."""
    validator = trainer.validator
    if validator is None:
        return None, {}
    # After a kill another step's patch may lie there, if steps do not repeat to the bit.
    best = validator.account.best
    if best is None or step_of_patch(validator.folder) != best:
        return None, validator.said
    return validator.folder, validator.said


def _draw_anew(checkpoint: Path, trainer: PatchTrainer) -> None:
    """Give processes that have no random state in a checkpoint one that follows from its step."""
    made_by, processes = processes_of(checkpoint), trainer.args.world_size
    if made_by == processes:
        return
    log.info("the checkpoint is of %d processes, and %d go on", made_by, processes)
    # Those for which the Trainer finds one take it.
    set_seed(trainer.settings.seed + step_of(checkpoint))


def _fit(trainer: PatchTrainer, checkpoint: Path | None, progress: bool) -> float:
    """Take the optimiser steps that are left; the seconds they took."""
    resume = None
    if checkpoint is None:
        log.info("starting at step 0")
    else:
        log.info("resuming at step %d, from %s", step_of(checkpoint), checkpoint)
        resume = str(checkpoint)
        _draw_anew(checkpoint, trainer)
    validator = trainer.validator
    if validator is not None:
        validator.restore(checkpoint, trainer.args.process_index)
        if checkpoint is not None and validator.account.over:
            # The run has ended before, and further steps would make another patch of it.
            load_weights(checkpoint, trainer.kept)
            trainer.state.global_step = step_of(checkpoint)
            return 0.0
        trainer.add_callback(validator)
    path = trainer.settings.out / LOG_NAME
    stop = Stop()
    trainer.add_callback(stop)
    with progress_bar("training", progress and trainer.args.process_index == 0) as bar:
        reporter = trainer.reporter = Reporter(path, bar)
        if validator is not None:
            reporter.metric = validator.exam.metric
        trainer.add_callback(reporter)
        started = time.perf_counter()
        try:
            with stop.listening():
                trainer.train(resume_from_checkpoint=resume)
        except BaseException as error:
            # A page that went on reloading would look like a run that goes on.
            reporter.close(f"ended by an error ({type(error).__name__})")
            raise
        seconds = time.perf_counter() - started
    done = trainer.state.global_step >= trainer.args.max_steps
    if not done and validator is not None and validator.account.over and stop.signal is None:
        done = True
        reporter.close(f"stopped early, as validation.patience={validator.settings.patience} asks")
    elif done:
        reporter.close("finished")
    else:
        reporter.close("stopped; repeat the command to go on")
    if not done:
        stop.end(trainer.state.global_step)
    return seconds
