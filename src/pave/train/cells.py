"""Cells of grids as training records: see `pave.tasks.grids` and `Counterfactual`.

A cell names one clip's video and another's side file. Both have been encoded already, so nothing is
decoded or encoded for it; it is another clip to the language model alone, with a prefix of its own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pave.data import Record
from pave.errors import RecordError
from pave.metrics import exact_match
from pave.tasks import get_task, list_tasks
from pave.tasks.grids import CELLS, Judge, Pair, pair_up
from pave.texts import counted

log = logging.getLogger(__name__)

ROUNDS = 4
"""How often all clips are paired anew, so that a picture is seen with the channels of several."""


@dataclass(frozen=True)
class Cells:
    """The cells that a run trains on.

    Attributes:
        records: One a cell, its right answer in the last turn.
        wrong: Id of a cell -> the other clip's answer.
    """

    records: list[Record]
    wrong: dict[str, str]


def make_cells(
    records: Sequence[Record], channel: str, task: str | None = None, *, seed: int = 0
) -> Cells:
    """Pair the clips of training records, several times over, and make the cells of all pairs.

    Args:
        records: The training records.
        channel: The channel to exchange.
        task: Whose judge tells answers apart; by exact match where it has none.
        seed: Of the pairing.

    Raises:
        RecordError: If no pair can be made, or a record has no answer; the message says why.

    Example:
        >>> cells = make_cells(read_records("train.jsonl"), "audio")  # doctest: +SKIP
        >>> cells.records[1].video, cells.records[1].channels         # doctest: +SKIP
        ('/clips/a.mp4', {'audio': '/clips/b.mp4'})
    """
    judge = _judge(task)
    # In the order in which they are drawn, which the plan's numbers follow.
    made: dict[str, Record] = {}
    wrong: dict[str, str] = {}
    met: set[frozenset[str]] = set()  # pairs of records, which several rounds may draw
    paired: set[str] = set()
    reasons: dict[str, str] = {}  # id -> why it was left out of the last round
    for number in range(ROUNDS):
        grids = pair_up(records, channel, judge, seed=seed * ROUNDS + number)
        for pair in grids.pairs:
            ids = [record.id for record in pair.records]
            if frozenset(ids) in met:
                continue
            met.add(frozenset(ids))
            paired.update(ids)
            _add_cells(pair, made, wrong)
        for why, left in grids.left_out.items():
            reasons.update(dict.fromkeys(left, why))
    _tell(records, channel, len(met), paired, reasons)
    return Cells(list(made.values()), wrong)


def _judge(task: str | None) -> Judge:
    """How answers are told apart."""
    # The task of a training run may be any name: it is for the card.
    if task in list_tasks():
        judge = get_task(task).judge
        if judge is not None:
            return judge
    return exact_match


def _add_cells(
    pair: Pair,
    made: dict[str, Record],
    wrong: dict[str, str],
) -> None:
    """The four cells of a pair."""
    for picture, side in CELLS:
        cell = pair.cell(picture, side)
        target = pair.target(picture, side)
        right = _answer(pair.records[target])
        *past, last = cell.turns
        closed = last.model_copy(update={"answer": right})
        made[cell.id] = cell.model_copy(update={"turns": [*past, closed]})
        wrong[cell.id] = _answer(pair.records[1 - target])


def _answer(record: Record) -> str:
    """What a record teaches to say."""
    answer = record.turns[-1].answer
    if not answer:
        raise RecordError(
            f"record {record.id}: its last question has no answer to train on; add it or "
            "remove the record"
        )
    return answer


def _tell(
    records: Sequence[Record],
    channel: str,
    pairs: int,
    paired: set[str],
    reasons: dict[str, str],
) -> None:
    """Say what was paired, what was not, and what was guessed."""
    log.info(
        "counterfactual: %d of %d questions are in %d pairs of clips that answer them differently",
        len(paired),
        len(records),
        pairs,
    )
    # What one round left out another one may have paired.
    why = Counter(reason for name, reason in reasons.items() if name not in paired)
    for reason, count in why.items():
        unpaired = counted(count, "question is", "questions are")
        log.info("counterfactual: %s in no pair: %s", unpaired, reason)
    silent = sum("channel" not in record.meta for record in records if record.id in paired)
    if silent:
        log.warning(
            "%d of the paired questions do not say in meta.channel what they are about; they "
            "count as questions about the channel %s, so mark questions about the picture with "
            "`video`",
            silent,
            channel,
        )
