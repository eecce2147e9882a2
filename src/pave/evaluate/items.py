"""Questions as evaluation sees them: `Item`, what was asked and what counts as right, and `Answer`, what an arm said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pave.data import Record, clip_key
from pave.errors import RecordError
from pave.metrics import exact_match

# What a question takes (`meta.channel`) -> the row in which such questions are pooled.
GROUPS = {"audio": "sound", "video": "visual"}
TITLES = {
    "all": "all questions",
    "sound": "needs sound",
    "scene3d": "needs depth",
    "views": "needs other cameras",
    "frames": "needs a high frame rate",
    "visual": "visual control",
}


@dataclass(frozen=True)
class Item:
    """One question to put to every arm.

    Attributes:
        id: The record's id.
        clip: Equal for questions about the same clip; the unit that the bootstrap resamples.
        family: Kind of question, from `meta.family`; "other" where the record does not say.
        group: "sound", "visual", or whatever `meta.channel` names; empty where the record does not
            say.
        question: The record's last turn.
        answers: Accepted answers.
        record: Where it comes from.
    """

    id: str
    clip: str
    family: str
    group: str
    question: str
    answers: tuple[str, ...]
    record: Record

    def turns(self) -> list[tuple[str, str | None]]:
        """The dialogue up to the question, which is left open."""
        earlier: list[tuple[str, str | None]] = [
            (turn.question, turn.answer or "") for turn in self.record.turns[:-1]
        ]
        return [*earlier, (self.question, None)]


@dataclass(frozen=True)
class Answer:
    """What one arm said to one item, as a row of the answers file.

    Attributes:
        id: The item's id.
        arm: Who answered.
        family: The item's family.
        question: What was asked.
        answer: The first accepted answer.
        prediction: What the arm said.
        correct: Exact match with any accepted answer, see `pave.metrics.exact_match`; None where a
            task scores the answers, which it does when all are there.
    """

    id: str
    arm: str
    family: str
    question: str
    answer: str
    prediction: str
    correct: bool | None


def items_of(records: Sequence[Record]) -> list[Item]:
    """Records -> items, in order.

    Raises:
        RecordError: If a record has no accepted answer, so that nothing could be scored.
    """
    return [_item(record) for record in records]


def judge(item: Item, arm: str, prediction: str, *, exact: bool = True) -> Answer:
    """Score a prediction.

    Args:
        item: What was asked.
        arm: Who answered.
        prediction: What it said.
        exact: By exact match; otherwise it is left to the task.

    Example:
        >>> from pave.data import Record, Turn
        >>> item = items_of([Record(id="1", video="v.mp4", turns=[Turn(question="What?", answer="dog")])])[0]
        >>> judge(item, "base", "A dog.").correct
        True
    """
    correct = exact_match(prediction, item.answers) if exact else None
    return Answer(item.id, arm, item.family, item.question, item.answers[0], prediction, correct)


def _item(record: Record) -> Item:
    last = record.turns[-1]
    answers = tuple(record.answers) or ((last.answer,) if last.answer else ())
    if not answers:
        raise RecordError(
            f"record {record.id!r} has no accepted answer; give it `answers`, or an answer in its "
            "last turn"
        )
    channel = str(record.meta.get("channel", ""))
    family = str(record.meta.get("family", "other"))
    return Item(
        record.id,
        clip_key(record),
        family,
        GROUPS.get(channel, channel),
        last.question,
        answers,
        record,
    )
