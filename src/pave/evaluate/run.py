"""`evaluate`: put the same questions to every arm, score the predictions, write the results.

The work is cut into fixed batches of whole clips before anything is answered. An interrupted
evaluation started again skips the batches that are complete and repeats the one that was not, so
every answer is computed in the same batch as in an uninterrupted run and the results are the same,
also where rounding depends on the batch.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pave.arguments import as_kind
from pave.bases import Base, load_base
from pave.bases.inputs import FrameWord
from pave.cache import TokenCache
from pave.data import Record, group_by_clip, read_records
from pave.data.base_digests import digests_of
from pave.errors import ConfigError
from pave.evaluate.arm_files import ArmRow, Key, all_rows, claim
from pave.evaluate.arms import PLAIN, ArmSpec
from pave.evaluate.asking import ask_all, ask_share
from pave.evaluate.config import EvalConfig
from pave.evaluate.evaluation import ArmFacts, Evaluation, Progress
from pave.evaluate.machine import PeakMemory, Stopwatch, versions
from pave.evaluate.plot import draw
from pave.evaluate.report import Report, write_report
from pave.evaluate.scores import TaskScores, asked_of, score_arms
from pave.files import held_alone, sha256_of
from pave.model import PatchedModel
from pave.placement import running_on
from pave.tasks import EXACT
from pave.tasks.items import items_of, references_of
from pave.tasks.score import task_for, write_rows

BUSY = "wait for it, or choose another out folder"
BARE = "{question}"
"""The prompt of a patch that was trained on the bare question."""


@dataclass(frozen=True)
class Share:
    """What became of one share of an evaluation.

    Attributes:
        answered: Answers that are there by now, of all arms and all shares.
        total: Answers that there have to be.
        report: The report, from the share that came last; None while others are missing.
    """

    answered: int
    total: int
    report: Report | None


def evaluate(
    config: EvalConfig, base: Base | None = None, progress: Progress | None = None
) -> Report:
    """Evaluate every arm, and write the results into `config.out`.

    These are `<arm>.jsonl`, `items/<arm>.jsonl`, `results.json`, `report.md` and `plot.png`.
    Answers that shares of the work have left there (`evaluate_share`) are used, missing ones are
    asked for.

    Args:
        config: What to ask whom; `shard` is left open.
        base: A loaded base, instead of the one that `config.base` names, in its own type and place.
            It is given back unpatched.
        progress: Called with (stage, done, total): stage is "read" or an arm's name.

    Raises:
        RecordError: If the records cannot be read or scored.
        PatchError: If a patch cannot be loaded, or belongs to another base.
        ConfigError: If `config.out` holds answers made with other settings, the task is not known
            or only trained on, another process is at work in `config.out`, or `config.shard` is
            set.

    Example:
        >>> config = EvalConfig(records="test.jsonl", out="out")       # doctest: +SKIP
        >>> evaluate(config).arm("base", "audio").accuracy             # doctest: +SKIP
        0.31
    """
    as_kind(config, EvalConfig, "the settings of an evaluation are a pave.EvalConfig")
    if config.swap is not None:
        raise ConfigError(f"swap={config.swap!r}: use evaluate_swap to exchange a channel")
    if config.shard is not None:
        raise ConfigError(
            f"shard={config.shard!r}: use evaluate_share for a part of an evaluation, or leave "
            "shard out"
        )
    with held_alone(config.out, ConfigError, BUSY):
        return _evaluate(config, base, progress)


def _evaluate(config: EvalConfig, base: Base | None, progress: Progress | None) -> Report:
    """Ask what is missing, and make the report."""
    watch = Stopwatch()
    # Around the loading too: most of the memory is the base.
    with PeakMemory() as memory:
        with opened(config, base, watch, progress) as run:
            rows, facts = ask_all(run)
            sizes = _sizes(run)
        with watch.stage("statistics"):
            scores = _score(run, rows)
        report = _report(run, scores, facts, sizes, memory)
    write_report(report, config.out, images=["plot.png"] if config.plot else [])
    if config.plot:
        draw(report, config.out / "plot.png")
    return report


def evaluate_share(
    config: EvalConfig, base: Base | None = None, progress: Progress | None = None
) -> Share:
    """Ask the questions of one share, `config.shard`; the share that comes last makes the report.

    Answers go into `<arm>.part-<i>-of-<n>.jsonl`. Shares are dealt out batch by batch from the
    batches that one process would have, so `<arm>.jsonl` ends byte for byte as that process would
    have left it. The shares need `config.out` in common, and had better have the token cache.

    Args:
        config: What to ask whom.
        base: A loaded base, instead of the one that `config.base` names. It is given back
            unpatched.
        progress: Called with (stage, done, total).

    Raises:
        PaveError: As for `evaluate`.

    Example:
        >>> config = EvalConfig(records="test.jsonl", out="out", shard="1/2")  # doctest: +SKIP
        >>> evaluate_share(config).report is None                              # doctest: +SKIP
        True
    """
    part, parts = config.share
    mine = held_alone(config.out, ConfigError, BUSY, part=f"-{part + 1}-of-{parts}")
    with mine, opened(config, base, Stopwatch(), progress) as run:
        ask_share(run, config.share)
        answered = 0
        for arm in run.patches:
            answered += len(all_rows(config.out, arm))
    # Counted on disk, so that whichever share ends last is the one that finds all there.
    total = len(run.asked) * len(run.patches)
    if answered < total:
        return Share(answered, total, None)
    # Nothing is left to ask: this puts the parts together and scores them.
    whole = config.model_copy(update={"shard": None})
    return Share(total, total, _evaluate(whole, run.model.base, progress))


@contextmanager
def opened(
    config: EvalConfig,
    base: Base | None,
    watch: Stopwatch,
    progress: Progress | None,
    records: Sequence[Record] | None = None,
) -> Iterator[Evaluation]:
    """Everything loaded and checked; the base is unpatched afterwards.

    Args:
        config: What to ask whom.
        base: A loaded base, instead of the one that `config.base` names.
        watch: Seconds of the stages.
        progress: Told of the reading and answering.
        records: What to ask, instead of the records of the file.
    """
    with (
        running_on(config.device) as device,
        _loaded(config, base, watch, progress, records=records, device=device) as run,
    ):
        yield run


@contextmanager
def _loaded(
    config: EvalConfig,
    base: Base | None,
    watch: Stopwatch,
    progress: Progress | None,
    *,
    records: Sequence[Record] | None,
    device: torch.device,
) -> Iterator[Evaluation]:
    """The same on a device."""
    with watch.stage("load"):
        if records is None:
            records = read_records(config.records)
            asked = limited(records, config.limit)
        else:
            asked = limited(records, None)
        task = task_for(config.task, records)
        for record in asked:
            references_of(record)  # complains now, not after hours of answering
        limit = config.max_new_tokens or task.max_new_tokens
        config = config.model_copy(update={"max_new_tokens": limit})
        if base is None:  # the tower only if a clip is new
            how = config.on(device)
            base = load_base(config.base, dtype=config.dtype, tower=False, **how)
        model = PatchedModel(base)
    try:
        with watch.stage("load"):
            patches = {}  # arm -> names of its patches in the model
            for arm, spec in config.specs.items():
                patches[arm] = _load(model, arm, spec.folders, config.same_weights)
            frames = config.frames or _frames_of(model)
            config = config.model_copy(update={"frames": frames})
        # Not earlier: a mistyped arm must not bind the folder.
        claim(config.out, _identity(config, model, patches))
        yield Evaluation(
            config=config,
            model=model,
            records=records,
            asked=asked,
            task=task,
            max_new_tokens=limit,
            arms=config.specs,
            patches=patches,
            watch=watch,
            progress=progress,
        )
    finally:
        # Also after an error: the base may be the caller's own.
        model.unpatch()


def _load(model: PatchedModel, arm: str, folders: Sequence[Path], same_weights: bool) -> list[str]:
    """Put an arm's patches on the base, under names that are no channels.

    An arm may be called like a channel, and then must not take that channel's tokens for its own.
    """
    names = []
    for number, folder in enumerate(folders, 1):
        name = model.load_patch(folder, name=f"{arm}-{number}", same_weights=same_weights)
        names.append(name)
    return names


def _frames_of(model: PatchedModel) -> FrameWord | None:
    """Frames for every arm: what the patches were trained on; None for the base's own number.

    Raises:
        ConfigError: If they were trained on different numbers; then no number is fair to all.
    """
    counts: dict[FrameWord, list[str]] = {}
    for name, patch in model.patches.items():
        if patch.config.frames is not None:
            counts.setdefault(patch.config.frames, []).append(name)
    if len(counts) > 1:
        told = "; ".join(f"{', '.join(names)}: {count}" for count, names in counts.items())
        raise ConfigError(
            f"the patches were trained on different numbers of frames ({told}); set frames"
        )
    frames = next(iter(counts), None)
    if frames == model.base.settings.frames:
        return None  # which also older results say
    return frames


def limited(records: Sequence[Record], limit: int | None) -> list[Record]:
    """The records of the first `limit` clips, clip by clip."""
    asked: list[Record] = []
    for group in group_by_clip(records)[:limit]:
        asked += group
    return asked


def _identity(
    config: EvalConfig, model: PatchedModel, patches: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """All that the answers depend on; an interrupted evaluation goes on only where it agrees.

    What goes without saying is left out, so that folders of an older pave are still recognised.
    """
    identity = config.model_dump(
        mode="json", include={"frames", "limit", "batch", "max_new_tokens"}
    )
    if config.task != EXACT:
        identity["task"] = config.task
    if config.swap is not None:  # the seed draws who meets whom
        identity["swap"] = [config.swap, config.seed]
    base = model.base
    identity["base"] = base.fingerprint()  # its shape, which two bases may share
    identity["weights"] = digests_of(base, TokenCache(config.cache_folder))
    identity |= base.prompt_identity()
    identity["records"] = _digest(config.records)
    # By content: a patch that was trained again lies in the same folder.
    identity["arms"] = {}
    for arm, spec in config.specs.items():
        identity["arms"][arm] = _identities(spec)
        # The seed draws whose channel a clip gets, and what probes hold out.
        if spec.kind not in (PLAIN, "blind"):
            identity["controls_seed"] = config.seed
    if config.train_records is not None:
        identity["train_records"] = _digest(config.train_records)
    # Older evaluations put the bare question also to patches that were trained on a template.
    prompts = {arm: _templates(model, names) for arm, names in patches.items()}
    if any(prompts.values()):
        identity["prompts"] = prompts
    return identity


def _templates(model: PatchedModel, names: Sequence[str]) -> list[str]:
    """The prompts of an arm's patches, where one of them has its own."""
    prompts = [model.patches[name].config.prompt for name in names]
    if prompts.count(BARE) == len(prompts):
        return []
    return prompts


def _identities(spec: ArmSpec) -> str | list[str] | None:
    """What tells an arm from another one of the same name."""
    found = [_digest(Path(folder) / "patch.json") for folder in spec.folders]
    if spec.kind != PLAIN:
        return [spec.kind, *found]
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    return found


def _digest(path: Path) -> str:
    """SHA-256 of a file (a patch.json holds those of its weights).

    What is not on disk, such as a patch on the Hub, is known by its name alone.
    """
    if not path.is_file():
        return str(path)
    return sha256_of(path)


def _sizes(run: Evaluation) -> dict[str, int]:
    """Trained parameters of each arm that has patches, all of them together."""
    rows = run.model.info()["patches"]
    sizes: dict[str, int] = {}
    for arm, names in run.patches.items():
        if run.arms[arm].learns:  # it only reads what the patch's encoder makes
            continue
        for name in names:
            own = rows[name]["fusion_parameters"] + rows[name]["lora_parameters"]
            sizes[arm] = sizes.get(arm, 0) + own
    return sizes


def _score(run: Evaluation, rows: Mapping[Key, ArmRow]) -> TaskScores:
    """Score every arm, and write its items, ready for `pave compare`."""
    ids = {record.id for record in run.asked}
    # In the order of the file, as pave score has them: a bootstrap draws by place.
    in_order = [record for record in run.records if record.id in ids]
    predictions: dict[str, dict[str, str]] = {arm: {} for arm in run.patches}
    for (arm, name), row in rows.items():
        if name in ids:  # a file may hold more, where another process is at work
            predictions[arm][name] = row.prediction
    items = {arm: items_of(run.task, in_order, own) for arm, own in predictions.items()}
    scores, item_rows = score_arms(
        run.task,
        items,
        asked_of(run.records, run.task),
        style=run.config.style,
        resamples=run.config.resamples,
        seed=run.config.seed,
    )
    for arm, own in item_rows.items():
        write_rows(run.config.out / "items" / f"{arm}.jsonl", own)
    return scores


def _report(
    run: Evaluation,
    scores: TaskScores,
    facts: Mapping[str, ArmFacts],
    sizes: dict[str, int],
    memory: PeakMemory,
) -> Report:
    """Everything that was found out, and how."""
    notes: list[str] = []
    for fact in facts.values():
        notes += fact.notes
    return Report(
        task=scores,
        clips=len(group_by_clip(run.asked)),
        prompt_tokens={arm: fact.prompt_tokens for arm, fact in facts.items()},
        notes=notes,
        seconds=run.watch.seconds,
        peak_rss_mb=memory.megabytes,
        trainable_parameters=sizes,
        seeds={"bootstrap": run.config.seed},
        versions=versions(),
        command=shlex.join(["pave", *sys.argv[1:]]),
        settings=run.config.model_dump(mode="json"),
    )
