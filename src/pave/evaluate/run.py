"""`evaluate`: put the same questions about the same frames to every arm, score the answers, write the results.

The work is cut into fixed batches of whole clips before anything is answered. An interrupted evaluation started again skips the
batches that are complete and repeats the one that was not, so every answer is computed in the same batch as in an uninterrupted
run and the results are the same, also where rounding depends on the batch.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pave.bases import Base, load_base
from pave.channels import Encoder
from pave.data import ClipFeatures, Features, Record, group_by_clip, read_records
from pave.evaluate.answers import append_answers, claim, read_answers
from pave.evaluate.config import EvalConfig
from pave.evaluate.decode import Questions, answer
from pave.evaluate.items import Answer, Item, items_of, judge
from pave.evaluate.machine import PeakMemory, Stopwatch, versions
from pave.evaluate.plot import draw
from pave.evaluate.report import Report, write_report
from pave.evaluate.table import arm_rows, paired_rows
from pave.patches import PatchedModel
from pave.store import TokenStore

Progress = Callable[[str, int, int], None]


def evaluate(config: EvalConfig, base: Base | None = None, progress: Progress | None = None) -> Report:
    """Evaluate every arm and write `<arm>.jsonl`, `results.json`, `report.md` and `plot.png` into `config.out`.

    Args:
        config: What to ask whom.
        base: A loaded base, instead of the one that `config.base` names. It is given back unpatched.
        progress: Called with (stage, done, total): stage is "read" or an arm's name.

    Raises:
        RecordError: If the records cannot be read or scored.
        PatchError: If a patch cannot be loaded, or belongs to another base.
        ConfigError: If `config.out` holds answers made with other settings.

    Example:
        >>> report = evaluate(EvalConfig(records="test.jsonl", out="out", arms={"base": None}))  # doctest: +SKIP
        >>> report.arm("base", "sound").accuracy                                                 # doctest: +SKIP
        0.31
    """
    watch = Stopwatch()
    with PeakMemory() as memory:
        with watch.stage("load"):
            records = _limited(read_records(config.records), config.limit)
            items = items_of(records)
            base = base or load_base(config.base, tower=False)
            claim(config.out, _identity(config, base))
            model = PatchedModel(base)
        try:
            with watch.stage("load"):
                patches = {arm: _load(model, arm, folders or []) for arm, folders in config.arms.items()}
            answers = _ask_all(model, base, items, config, patches, watch, progress)
            sizes = _sizes(model, patches)
        finally:
            model.unpatch()
        report = _report(config, items, answers, sizes, watch, memory)
    write_report(report, config.out, images=["plot.png"] if config.plot else [])
    if config.plot:
        draw(report, config.out / "plot.png")
    return report


def _load(model: PatchedModel, arm: str, folders: Sequence[Path]) -> list[str]:
    """Put an arm's patches on the base; the last one, or the only one, has the arm's name."""
    names = [f"{arm}-{number}" for number in range(1, len(folders))] + [arm]
    return [model.load_patch(folder, name=name) for folder, name in zip(folders, names, strict=False)]


def _limited(records: Sequence[Record], limit: int | None) -> list[Record]:
    """The records of the first `limit` clips."""
    return [record for group in group_by_clip(records)[:limit] for record in group]


def _identity(config: EvalConfig, base: Base) -> dict[str, Any]:
    """All that the answers depend on; an interrupted evaluation goes on only where it agrees."""
    arms = {arm: _identities(folders) for arm, folders in config.arms.items()}
    decided_by = config.model_dump(mode="json", include={"frames", "limit", "batch", "max_new_tokens"})
    return {**decided_by, "base": base.fingerprint(), "records": _digest(config.records), "arms": arms}


def _identities(folders: Sequence[Path] | None) -> str | list[str] | None:
    """What tells an arm from another one of the same name."""
    found = [_digest(Path(folder) / "patch.json") for folder in folders or []]
    return (found[0] if len(found) == 1 else found) or None


def _digest(path: Path) -> str:
    """SHA-256 of a file (a patch.json holds those of its weights), or the path itself for what is not on disk."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def _ask_all(
    model: PatchedModel,
    base: Base,
    items: Sequence[Item],
    config: EvalConfig,
    patches: Mapping[str, Sequence[str]],
    watch: Stopwatch,
    progress: Progress | None,
) -> dict[tuple[str, str], Answer]:
    """Every arm's answers, by (arm, item id)."""
    store = TokenStore(config.store_folder)
    answers: dict[tuple[str, str], Answer] = {}
    for arm, names in patches.items():
        features = Features(base, _encoders(model, names), store, frames=config.frames)
        with watch.stage("read"):
            reading = partial(progress, "read") if progress else None
            features.precompute([item.record for item in items], workers=config.workers, progress=reading)
        model.set_patches(dict.fromkeys(names, 1.0))
        with watch.stage(f"answer {arm}"):
            answers |= _ask_arm(model, features, arm, items, config, partial(progress, arm) if progress else None)
    return answers


def _ask_arm(
    model: PatchedModel,
    features: Features,
    arm: str,
    items: Sequence[Item],
    config: EvalConfig,
    progress: Callable[[int, int], None] | None,
) -> dict[tuple[str, str], Answer]:
    """One arm's answers: those in its file, and the missing ones, which are written batch by batch."""
    file = config.out / f"{arm}.jsonl"
    answers = read_answers(file)
    batches = _batches(_by_length(items, features), config.batch)
    for number, batch in enumerate(batches, 1):
        missing = {item.id for item in batch if (arm, item.id) not in answers}
        if missing:
            rows = _ask(model, features, arm, batch, config.max_new_tokens)
            new = [row for row in rows if row.id in missing]
            append_answers(file, new)
            answers |= {(arm, row.id): row for row in new}
        if progress:
            progress(number, len(batches))
    return answers


def _encoders(model: PatchedModel, names: Sequence[str]) -> dict[str, Encoder]:
    """Patch name -> encoder, for the arm's patches that have one."""
    encoders = {name: model.encoder(name) for name in names}
    return {name: encoder for name, encoder in encoders.items() if encoder is not None}


def _by_length(items: Sequence[Item], features: Features) -> list[Item]:
    """Items clip by clip, clips of like length and like questions side by side, so that a batch holds little padding."""
    clips = _by_clip(items)
    sizes = {
        clip: (len(features.clip(members[0].record).text), max(len(item.question) for item in members))
        for clip, members in clips.items()
    }
    return [item for clip in sorted(clips, key=sizes.__getitem__) for item in clips[clip]]


def _by_clip(items: Sequence[Item]) -> dict[str, list[Item]]:
    clips: dict[str, list[Item]] = {}
    for item in items:
        clips.setdefault(item.clip, []).append(item)
    return clips


def _batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Whole clips while they fit into `size` questions; a clip with more questions than that is cut up."""
    pieces = [members[start : start + size] for members in _by_clip(items).values() for start in range(0, len(members), size)]
    batches: list[list[Item]] = []
    for piece in pieces:
        if batches and len(batches[-1]) + len(piece) <= size:
            batches[-1] += piece
        else:
            batches.append(list(piece))
    return batches


def _ask(model: PatchedModel, features: Features, arm: str, batch: Sequence[Item], limit: int) -> list[Answer]:
    """Answer and judge one batch of whole clips."""
    clips = _by_clip(batch)
    prompt = model.configs[arm].prompt if arm in model.configs else "{question}"
    questions = [_questions(model.base, features[members[0].record], members, prompt) for members in clips.values()]
    said = answer(model, model.base, questions, limit)
    rows = []
    for members, replies in zip(clips.values(), said, strict=True):
        rows += [judge(item, arm, model.base.decode(reply)) for item, reply in zip(members, replies, strict=True)]
    return rows


def _questions(base: Base, features: ClipFeatures, members: Sequence[Item], template: str) -> Questions:
    """One clip's questions as ids, put the way the patch was trained with."""
    asked, prefix = [], []
    for item in members:
        turns = [(template.replace("{question}", question), reply) for question, reply in item.turns()]
        prompt = base.encode_prompt(features.clip.text, turns)
        prefix = prompt.prefix
        asked.append(prompt.dialogue()[len(prefix) :])
    return Questions(features, prefix, asked)


def _sizes(model: PatchedModel, patches: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Trained parameters of each arm that has patches, all of them together."""
    rows = model.info()["patches"]
    return {
        arm: sum(rows[name]["fusion_parameters"] + rows[name]["lora_parameters"] for name in names)
        for arm, names in patches.items()
        if names
    }


def _report(
    config: EvalConfig,
    items: Sequence[Item],
    answers: Mapping[tuple[str, str], Answer],
    sizes: dict[str, int],
    watch: Stopwatch,
    memory: PeakMemory,
) -> Report:
    arms = list(config.arms)
    with watch.stage("statistics"):
        paired = paired_rows(items, arms, answers, resamples=config.resamples, seed=config.seed)
    return Report(
        arms=arm_rows(items, arms, answers),
        paired=paired,
        clips=len({item.clip for item in items}),
        seconds=watch.seconds,
        peak_rss_mb=memory.megabytes,
        trainable_parameters=sizes,
        seeds={"bootstrap": config.seed},
        versions=versions(),
        command=shlex.join(["pave", *sys.argv[1:]]),
        settings=config.model_dump(mode="json"),
    )
