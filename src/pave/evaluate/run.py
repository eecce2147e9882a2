"""`evaluate`: put the same questions about the same frames to every arm, score the answers, write the results.

The work is cut into fixed batches of whole clips before anything is answered. An interrupted
evaluation started again skips the batches that are complete and repeats the one that was not, so
every answer is computed in the same batch as in an uninterrupted run and the results are the same,
also where rounding depends on the batch.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pave.answer import Sampling, generate, questions_about
from pave.bases import Base, load_base
from pave.cache import TokenCache
from pave.channels import Encoder
from pave.data import Features, Record, group_by_clip, read_records
from pave.data.features import digests_of
from pave.errors import ConfigError
from pave.evaluate.answers import (
    all_answers,
    append_answers,
    claim,
    part_file,
    read_answers,
    write_answers,
)
from pave.evaluate.batches import by_clip, by_length, cut
from pave.evaluate.config import EvalConfig
from pave.evaluate.items import Answer, Item, items_of, judge
from pave.evaluate.machine import PeakMemory, Stopwatch, versions
from pave.evaluate.plot import draw
from pave.evaluate.report import Report, write_report
from pave.evaluate.scores import score_arms, task_of
from pave.evaluate.table import arm_rows, paired_rows
from pave.model import PatchedModel
from pave.tasks import Task

Progress = Callable[[str, int, int], None]
MAX_NEW_TOKENS = 16
"""Longest answer where neither the settings nor a task say one."""


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


@dataclass(frozen=True)
class _Run:
    """An evaluation that has been loaded: what to ask whom."""

    config: EvalConfig
    model: PatchedModel
    records: Sequence[Record]
    items: Sequence[Item]
    task: Task | None
    patches: Mapping[str, Sequence[str]]
    watch: Stopwatch
    progress: Progress | None


def evaluate(
    config: EvalConfig, base: Base | None = None, progress: Progress | None = None
) -> Report:
    """Evaluate every arm and write `<arm>.jsonl`, `results.json`, `report.md` and `plot.png` into `config.out`.

    Answers that shares of the work have left there (`evaluate_share`) are used, missing ones are
    asked for.

    Args:
        config: What to ask whom; `shard` is left open.
        base: A loaded base, instead of the one that `config.base` names. It is given back
            unpatched.
        progress: Called with (stage, done, total): stage is "read" or an arm's name.

    Raises:
        RecordError: If the records cannot be read or scored.
        PatchError: If a patch cannot be loaded, or belongs to another base.
        ConfigError: If `config.out` holds answers made with other settings, the task is not known
            or only trained on, or `config.shard` is set.

    Example:
        >>> report = evaluate(EvalConfig(records="test.jsonl", out="out", arms={"base": None}))  # doctest: +SKIP
        >>> report.arm("base", "sound").accuracy                                                 # doctest: +SKIP
        0.31
    """
    if config.shard is not None:
        raise ConfigError(
            f"shard={config.shard!r}: a part of an evaluation is what evaluate_share does; leave "
            "shard out here"
        )
    watch = Stopwatch()
    with PeakMemory() as memory:
        with _opened(config, base, watch, progress) as run:
            answers = _ask_all(run)
            sizes = _sizes(run.model, run.patches)
        report = _report(run, answers, sizes, memory)
    write_report(report, config.out, images=["plot.png"] if config.plot else [])
    if config.plot:
        draw(report, config.out / "plot.png")
    return report


def evaluate_share(
    config: EvalConfig, base: Base | None = None, progress: Progress | None = None
) -> Share:
    """Answer the questions of one share, `config.shard`, into `<arm>.part-<i>-of-<n>.jsonl`; the last share makes the report.

    Shares are dealt out batch by batch from the batches that one process would have, so
    `<arm>.jsonl` ends byte for byte as that process would have left it. The shares need
    `config.out` in common, and had better have the store.

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
    with _opened(config, base, Stopwatch(), progress) as run:
        for arm in run.patches:
            features = _features(run, arm, config.share)
            file = part_file(config.out, arm, config.share)
            read_answers(file)  # takes off a line that a kill has cut short, before more are added
            known = all_answers(config.out, arm)
            for batch in _watched(
                run, arm, cut(by_length(run.items, features), config.batch)[part::parts]
            ):
                append_answers(file, _missing(run, features, arm, batch, known))
        found = [key for arm in run.patches for key in all_answers(config.out, arm)]
    total = len(run.items) * len(run.patches)
    if len(found) < total:
        return Share(len(found), total, None)
    return Share(
        total, total, evaluate(config.model_copy(update={"shard": None}), run.model.base, progress)
    )


@contextmanager
def _opened(
    config: EvalConfig, base: Base | None, watch: Stopwatch, progress: Progress | None
) -> Iterator[_Run]:
    """Everything loaded and checked; the base is unpatched afterwards."""
    with watch.stage("load"):
        records = read_records(config.records)
        asked = _limited(records, config.limit)
        task = task_of(config.task, records)
        items = items_of(asked)
        own = task.max_new_tokens if task is not None else MAX_NEW_TOKENS
        config = config.model_copy(update={"max_new_tokens": config.max_new_tokens or own})
        base = base or load_base(config.base, tower=False)
        model = PatchedModel(base)
    try:
        with watch.stage("load"):
            patches = {
                arm: _load(model, arm, folders or []) for arm, folders in config.arms.items()
            }
        claim(
            config.out, _identity(config, base)
        )  # not earlier: a mistyped arm must not bind the folder
        yield _Run(config, model, records, items, task, patches, watch, progress)
    finally:
        model.unpatch()


def _load(model: PatchedModel, arm: str, folders: Sequence[Path]) -> list[str]:
    """Put an arm's patches on the base, under names that are no channels: an arm may be called like one."""
    return [
        model.load_patch(folder, name=f"{arm}-{number}") for number, folder in enumerate(folders, 1)
    ]


def _limited(records: Sequence[Record], limit: int | None) -> list[Record]:
    """The records of the first `limit` clips."""
    return [record for group in group_by_clip(records)[:limit] for record in group]


def _identity(config: EvalConfig, base: Base) -> dict[str, Any]:
    """All that the answers depend on; an interrupted evaluation goes on only where it agrees."""
    arms = {arm: _identities(folders) for arm, folders in config.arms.items()}
    decided_by = config.model_dump(
        mode="json", include={"frames", "limit", "batch", "max_new_tokens"}
    )
    scored_by = {"task": config.task} if config.task is not None else {}
    weights = digests_of(base, TokenCache(config.store_folder))
    asked = {"base": base.fingerprint(), "weights": weights, "records": _digest(config.records)}
    return {**decided_by, **scored_by, **asked, "arms": arms}


def _identities(folders: Sequence[Path] | None) -> str | list[str] | None:
    """What tells an arm from another one of the same name."""
    found = [_digest(Path(folder) / "patch.json") for folder in folders or []]
    return (found[0] if len(found) == 1 else found) or None


def _digest(path: Path) -> str:
    """SHA-256 of a file (a patch.json holds those of its weights), or the path itself for what is not on disk."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def _ask_all(run: _Run) -> dict[tuple[str, str], Answer]:
    """Every arm's answers, by (arm, item id)."""
    answers: dict[tuple[str, str], Answer] = {}
    for arm in run.patches:
        features = _features(run, arm)
        with run.watch.stage(f"answer {arm}"):
            answers |= _ask_arm(run, features, arm)
    return answers


def _features(run: _Run, arm: str, share: tuple[int, int] = (0, 1)) -> Features:
    """Put an arm's patches to work, and see to it that the store has what they read.

    The cut into batches needs every clip. A share reads its own part of them first, and then what
    the others have not yet read.
    """
    names = run.patches[arm]
    features = Features(
        run.model.base,
        _encoders(run.model, names),
        TokenCache(run.config.store_folder),
        frames=run.config.frames,
    )
    reading = partial(run.progress, "read") if run.progress else None
    firsts = [members[0].record for members in by_clip(run.items).values()]
    part, parts = share
    with run.watch.stage("read"):
        for records in (firsts[part::parts], firsts)[parts == 1 :]:
            features.precompute(records, workers=run.config.workers, progress=reading)
    run.model.set_patches(dict.fromkeys(names, 1.0))
    return features


def _ask_arm(run: _Run, features: Features, arm: str) -> dict[tuple[str, str], Answer]:
    """One arm's answers: those that are there, and the missing ones; its file gets them batch by batch, in order."""
    file = run.config.out / f"{arm}.jsonl"
    written = read_answers(file)
    answers = written | all_answers(run.config.out, arm)
    batches = cut(by_length(run.items, features), run.config.batch)
    if len(written) < len(answers) == len(run.items):
        # All parts are there. Should several processes find that at once, they write the same whole
        # file.
        write_answers(file, (answers[arm, item.id] for batch in batches for item in batch))
        return answers
    for batch in _watched(run, arm, batches):
        _missing(run, features, arm, batch, answers)
        append_answers(
            file, [answers[arm, item.id] for item in batch if (arm, item.id) not in written]
        )
    return answers


def _missing(
    run: _Run,
    features: Features,
    arm: str,
    batch: Sequence[Item],
    known: dict[tuple[str, str], Answer],
) -> list[Answer]:
    """The answers of a batch that are not known yet, which then are. The whole batch is asked, for the sake of rounding."""
    missing = {item.id for item in batch if (arm, item.id) not in known}
    new = [row for row in _ask(run, features, arm, batch) if row.id in missing] if missing else []
    known |= {(arm, row.id): row for row in new}
    return new


def _watched(run: _Run, arm: str, batches: Sequence[list[Item]]) -> Iterator[list[Item]]:
    """The batches; progress is told after each."""
    for number, batch in enumerate(batches, 1):
        yield batch
        if run.progress:
            run.progress(arm, number, len(batches))


def _encoders(model: PatchedModel, names: Sequence[str]) -> dict[str, Encoder]:
    """Patch name -> encoder, for the arm's patches that have one."""
    encoders = {name: model.encoder(name) for name in names}
    return {name: encoder for name, encoder in encoders.items() if encoder is not None}


def _ask(run: _Run, features: Features, arm: str, batch: Sequence[Item]) -> list[Answer]:
    """Answer and judge one batch of whole clips."""
    clips, model = by_clip(batch), run.model
    questions = [
        questions_about(model, features[members[0].record], [item.turns() for item in members])
        for members in clips.values()
    ]
    said = generate(model, questions, Sampling(run.config.max_new_tokens or MAX_NEW_TOKENS))
    rows = []
    for members, replies in zip(clips.values(), said, strict=True):
        texts = [model.base.decode(reply) for reply in replies]
        rows += [
            judge(item, arm, text, exact=run.task is None)
            for item, text in zip(members, texts, strict=True)
        ]
    return rows


def _sizes(model: PatchedModel, patches: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Trained parameters of each arm that has patches, all of them together."""
    rows = model.info()["patches"]
    return {
        arm: sum(rows[name]["fusion_parameters"] + rows[name]["lora_parameters"] for name in names)
        for arm, names in patches.items()
        if names
    }


def _report(
    run: _Run, answers: Mapping[tuple[str, str], Answer], sizes: dict[str, int], memory: PeakMemory
) -> Report:
    config, arms = run.config, list(run.config.arms)
    draws: dict[str, int] = {"resamples": config.resamples, "seed": config.seed}
    scores, rows, paired = None, [], []
    with run.watch.stage("statistics"):
        if run.task is not None:
            scores = score_arms(
                run.task,
                run.records,
                run.items,
                arms,
                answers,
                config.out,
                style=config.style,
                **draws,
            )
        else:
            rows, paired = (
                arm_rows(run.items, arms, answers),
                paired_rows(run.items, arms, answers, **draws),
            )
    return Report(
        arms=rows,
        paired=paired,
        task=scores,
        clips=len({item.clip for item in run.items}),
        seconds=run.watch.seconds,
        peak_rss_mb=memory.megabytes,
        trainable_parameters=sizes,
        seeds={"bootstrap": config.seed},
        versions=versions(),
        command=shlex.join(["pave", *sys.argv[1:]]),
        settings=config.model_dump(mode="json"),
    )
