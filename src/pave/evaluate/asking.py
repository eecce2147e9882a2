"""Asking the arms: each question once, in fixed batches.

Whatever was interrupted, and however many processes share the work, the files end the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from pave.data import Record
from pave.data.features import UnusableClipsError
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
from pave.evaluate.blind_arm import BlindArm
from pave.evaluate.clip_arm import ClipArm, features_of
from pave.evaluate.evaluation import ArmFacts, AtWork, Evaluation
from pave.evaluate.token_arm import TokenArm


def ask_all(run: Evaluation) -> tuple[dict[Key, ArmRow], dict[str, ArmFacts]]:
    """Every arm's rows, those that are there and the missing ones, and what is said of each arm."""
    rows: dict[Key, ArmRow] = {}
    facts = {}
    read_clips(run)
    for arm in run.patches:
        at_work = put_to_work(run, arm)
        with run.watch.stage(f"answer {arm}"):
            rows |= ask_arm(run, at_work, arm)
        # While its patches are on: they decide on the prompt.
        facts[arm] = ArmFacts(at_work.prompt_tokens(), at_work.notes)
    return rows, facts


def ask_share(run: Evaluation, share: tuple[int, int]) -> None:
    """Ask one part of every arm's questions, into files of its own.

    Args:
        run: The evaluation.
        share: (number of the part counted from 0, number of parts).
    """
    read_clips(run, share)
    for arm in run.patches:
        ask_part(run, put_to_work(run, arm, share), arm, share)


def ask_part(run: Evaluation, at_work: AtWork, arm: str, share: tuple[int, int]) -> None:
    """Ask one part of one arm's questions, into a file of its own."""
    part, parts = share
    file = part_file(run.config.out, arm, share)
    # Takes off a line that a kill has cut short, before more are added.
    read_rows(file, arm)
    known = all_rows(run.config.out, arm)
    # In turn, because batches grow in length: shares take about the same time.
    for batch in _watched(run, arm, at_work.batches()[part::parts]):
        append_rows(file, _ask_missing(run, at_work, arm, batch, known))


def read_clips(run: Evaluation, share: tuple[int, int] = (0, 1)) -> None:
    """See to it that the token cache has what every arm reads, before any of them is asked.

    A clip that one arm cannot use is then found in front of hours of answers of the others.

    Raises:
        UnusableClipsError: If some clips cannot be used; it names those of all arms, and all
            others have been read.
    """
    reasons: dict[str, str] = {}
    clips = 0
    for arm, spec in run.arms.items():
        if spec.learns or spec.kind == "blind":
            continue
        try:
            features_of(run, arm, share)
        except UnusableClipsError as error:
            for name, reason in error.reasons.items():
                reasons.setdefault(name, reason)  # one reason is enough
            clips = error.clips
    if reasons:
        raise UnusableClipsError(reasons, clips)


def put_to_work(run: Evaluation, arm: str, share: tuple[int, int] = (0, 1)) -> AtWork:
    """Make an arm ready: its patches on, every other arm's off, and all that it reads there.

    Args:
        run: The evaluation.
        arm: The arm.
        share: (number of the part counted from 0, number of parts): what is read first.
    """
    spec = run.arms[arm]
    if spec.learns:
        return TokenArm(run, arm)
    if spec.kind == "blind":
        return BlindArm(run, arm)
    return ClipArm(run, arm, share)


def ask_arm(run: Evaluation, at_work: AtWork, arm: str) -> dict[Key, ArmRow]:
    """One arm's rows; its file gets the missing ones batch by batch, in order."""
    file = run.config.out / f"{arm}.jsonl"
    written = read_rows(file, arm)
    # What shares have answered counts, though it is not in this file.
    known = written | all_rows(run.config.out, arm)
    batches = at_work.batches()
    if len(written) < len(known) == len(run.asked):
        # All parts are there. Should several processes find that at once, they write the same whole
        # file.
        in_order = chain.from_iterable(batches)
        write_rows(file, (known[arm, record.id] for record in in_order))
        return known
    for batch in _watched(run, arm, batches):
        _ask_missing(run, at_work, arm, batch, known)
        lacking = []
        for record in batch:
            key = (arm, record.id)
            # Some rows may be another process's, from a part of its own.
            if key not in written:
                lacking.append(known[key])
        append_rows(file, lacking)
    return known


def _ask_missing(
    run: Evaluation, at_work: AtWork, arm: str, batch: Sequence[Record], known: dict[Key, ArmRow]
) -> list[ArmRow]:
    """The rows of a batch that are not known yet, which then are.

    The whole batch is asked for one that is missing, for the sake of rounding.
    """
    missing = [record for record in batch if (arm, record.id) not in known]
    if not missing:
        return []
    predictions = at_work.answer(batch)
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
