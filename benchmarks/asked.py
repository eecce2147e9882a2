"""Held-out questions as they are kept beside what arms answered: enough to score them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from answers import Answers

from pave.data import Record, Turn
from pave.evaluate.arm_files import read_rows

_MEANT = ("channel", "family", "pair")
"""Of a record's `meta`, what the tables ask for; not every clip has a partner."""


def add_questions(table: Answers, records: Iterable[Record]) -> None:
    """Put questions into a table, a row each.

    Args:
        table: The answers.
        records: Of one question each, in the order in which they were asked.
    """
    for place, record in enumerate(records):
        (turn,) = record.turns
        values = {"place": place, "question": turn.question, "answer": turn.answer}
        values["clip"] = PurePosixPath(record.video).stem
        values |= {key: record.meta[key] for key in _MEANT if key in record.meta}
        for column, value in values.items():
            table.add(column, {record.id: value})


def questions_of(table: Answers, channel: str) -> list[Record]:
    """The questions of a table in their order, without files.

    Args:
        table: The answers.
        channel: What the clips have beside their pictures.
    """
    places = table.column("place")
    found = []
    for name in sorted(places, key=places.__getitem__):
        row = table.rows[name]
        film = f"{row['clip']}.mp4"
        record = Record(
            id=name,
            video=film,
            channels={channel: film},
            turns=[Turn(question=row["question"], answer=row["answer"])],
            meta={key: row[key] for key in _MEANT if key in row},
        )
        found.append(record)
    return found


def predictions_of(file: Path) -> dict[str, str]:
    """Id of a question -> what an arm answered; empty without the file, whose name is the arm's."""
    return {row.id: row.prediction for row in read_rows(file, file.stem).values()}
