"""Asking the arms: each question once, in fixed batches.

Whatever was interrupted, and however many processes share the work, the files end the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from pave.answer import Sampling, generate, questions_about
from pave.cache import TokenCache
from pave.channels import Encoder
from pave.data import Features, Record, group_by_clip
from pave.data.lengths import must_fit
from pave.evaluate.arm_files import (
    ArmRow,
    Key,
    all_rows,
    append_rows,
    part_file,
    read_rows,
    row_of,
    write_rows,
)
from pave.evaluate.batches import by_length, cut
from pave.evaluate.config import EvalConfig
from pave.evaluate.machine import Stopwatch
from pave.model import PatchedModel
from pave.tasks import Task

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that has been loaded and checked.

    Attributes:
        config: Its settings.
        model: The base with every arm's patches on it.
        records: All records of the file.
        asked: Those that are asked about, clip by clip.
        task: What scores them.
        max_new_tokens: Longest answer.
        patches: Arm -> names of its patches in the model.
        watch: Seconds of the stages.
        progress: Called with (stage, done, total): stage is "read" or an arm's name.
    """

    config: EvalConfig
    model: PatchedModel
    records: Sequence[Record]
    asked: Sequence[Record]
    task: Task
    max_new_tokens: int
    patches: Mapping[str, Sequence[str]]
    watch: Stopwatch
    progress: Progress | None


def ask_all(run: Evaluation) -> dict[Key, ArmRow]:
    """Every arm's rows: those that are there, and the missing ones."""
    rows: dict[Key, ArmRow] = {}
    for arm in run.patches:
        features = put_to_work(run, arm)
        with run.watch.stage(f"answer {arm}"):
            rows |= ask_arm(run, features, arm)
    return rows


def ask_share(run: Evaluation, share: tuple[int, int]) -> None:
    """Ask one part of every arm's questions, into files of its own.

    Args:
        run: The evaluation.
        share: (number of the part counted from 0, number of parts).
    """
    part, parts = share
    for arm in run.patches:
        features = put_to_work(run, arm, share)
        file = part_file(run.config.out, arm, share)
        # Takes off a line that a kill has cut short, before more are added.
        read_rows(file, arm)
        known = all_rows(run.config.out, arm)
        batches = cut(by_length(run.asked, features), run.config.batch)
        # In turn, because batches grow in length: shares take about the same time.
        for batch in _watched(run, arm, batches[part::parts]):
            append_rows(file, _ask_missing(run, features, arm, batch, known))


def put_to_work(run: Evaluation, arm: str, share: tuple[int, int] = (0, 1)) -> Features:
    """Switch an arm's patches on, and see to it that the token cache has what they read.

    The cut into batches needs every clip. A share reads its own part of them first, and then what
    the others have not yet read.
    """
    names = run.patches[arm]  # none of the bare base
    cache = TokenCache(run.config.cache_folder)
    encoders = _encoders(run.model, names)
    features = Features(run.model.base, encoders, cache, frames=run.config.frames)
    reading = None
    if run.progress is not None:
        reading = partial(run.progress, "read")
    clips = [members[0] for members in group_by_clip(run.asked)]
    part, parts = share
    with run.watch.stage("read"):
        if parts > 1:
            features.precompute(clips[part::parts], workers=run.config.workers, progress=reading)
        features.precompute(clips, workers=run.config.workers, progress=reading)
        for members in group_by_clip(run.asked):
            clip = features.clip(members[0])
            for record in members:
                must_fit(run.model.base, clip, record, open_turns(record))
    # At full weight, and every other arm's patches off.
    run.model.set_patches(dict.fromkeys(names, 1.0))
    return features


def _encoders(model: PatchedModel, names: Sequence[str]) -> dict[str, Encoder]:
    """Patch name -> encoder, for the arm's patches that have one."""
    encoders = {}
    for name in names:
        encoder = model.encoder(name)
        if encoder is not None:  # a LoRA alone has none
            encoders[name] = encoder
    return encoders


def ask_arm(run: Evaluation, features: Features, arm: str) -> dict[Key, ArmRow]:
    """One arm's rows; its file gets the missing ones batch by batch, in order."""
    file = run.config.out / f"{arm}.jsonl"
    written = read_rows(file, arm)
    # What shares have answered counts, though it is not in this file.
    known = written | all_rows(run.config.out, arm)
    batches = cut(by_length(run.asked, features), run.config.batch)
    if len(written) < len(known) == len(run.asked):
        # All parts are there. Should several processes find that at once, they write the same whole
        # file.
        in_order = chain.from_iterable(batches)
        write_rows(file, (known[arm, record.id] for record in in_order))
        return known
    for batch in _watched(run, arm, batches):
        _ask_missing(run, features, arm, batch, known)
        lacking = []
        for record in batch:
            key = (arm, record.id)
            # Some rows may be another process's, from a part of its own.
            if key not in written:
                lacking.append(known[key])
        append_rows(file, lacking)
    return known


def _ask_missing(
    run: Evaluation, features: Features, arm: str, batch: Sequence[Record], known: dict[Key, ArmRow]
) -> list[ArmRow]:
    """The rows of a batch that are not known yet, which then are.

    The whole batch is asked for one that is missing, for the sake of rounding.
    """
    missing = [record for record in batch if (arm, record.id) not in known]
    if not missing:
        return []
    predictions = _predict(run, features, batch)
    rows = []
    for record in missing:
        row = row_of(run.task, record, arm, predictions[record.id])
        known[arm, record.id] = row
        rows.append(row)
    return rows


def _watched(run: Evaluation, arm: str, batches: Sequence[list[Record]]) -> Iterator[list[Record]]:
    """The batches; progress is told after each."""
    for number, batch in enumerate(batches, 1):
        yield batch
        if run.progress is not None:
            run.progress(arm, number, len(batches))


def _predict(run: Evaluation, features: Features, batch: Sequence[Record]) -> dict[str, str]:
    """Record id -> what the arm at work says, for one batch of whole clips."""
    model = run.model
    clips = group_by_clip(batch)
    asked = []
    for members in clips:
        # Records of one clip share its prefix, and so its features.
        dialogues = [open_turns(record) for record in members]
        asked.append(questions_about(model, features[members[0]], dialogues))
    predictions = {}
    answers = generate(model, asked, Sampling(run.max_new_tokens))  # greedy; [clips][questions]
    for members, ids in zip(clips, answers, strict=True):
        for record, tokens in zip(members, ids, strict=True):
            predictions[record.id] = model.base.decode(tokens)
    return predictions


def open_turns(record: Record) -> list[tuple[str, str | None]]:
    """The dialogue up to the last question, which is left open."""
    *earlier, last = record.turns
    # A turn without an answer stays, so that the last question is in its place.
    turns: list[tuple[str, str | None]] = [(turn.question, turn.answer or "") for turn in earlier]
    return [*turns, (last.question, None)]
