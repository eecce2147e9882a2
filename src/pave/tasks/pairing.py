"""Predictions and references in the authors' own formats, brought together as items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pave.errors import RecordError
from pave.tasks.task import Item, Prediction


def in_order(
    predictions: Sequence[Prediction], references: Any, key: str = "question_id"
) -> list[tuple[Prediction, dict[str, Any]]]:
    """Predictions beside references, line by line, as the authors' scripts pair them.

    Args:
        predictions: The predictions.
        references: The parsed reference file, a list of objects.
        key: Field that must agree; empty for none.

    Raises:
        RecordError: If the file is no such list, the lengths differ, or a pair does not agree. (Their evaluation skips scenes
            without media, and their scorer then stops at the length; ours says which question is missing.)
    """
    if not isinstance(references, list) or not all(isinstance(row, dict) for row in references):
        raise RecordError("the reference file must hold a list of objects")
    if key:
        said = {prediction.id for prediction in predictions}
        missing = [str(row.get(key)) for row in references if str(row.get(key)) not in said]
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise RecordError(
                f"{len(missing)} of {len(references)} questions have no prediction: {shown}; predict them, or give --records"
            )
    if len(predictions) != len(references):
        raise RecordError(f"{len(predictions)} predictions but {len(references)} references; they are paired line by line")
    pairs = list(zip(predictions, references, strict=True))
    for number, (prediction, row) in enumerate(pairs, 1):
        if key and prediction.id != str(row[key]):
            raise RecordError(
                f"line {number}: prediction of {prediction.id!r} beside reference {row[key]!r}; bring them into one order"
            )
    return pairs


def field(row: Any, name: str, where: str) -> Any:
    """A field that must be there.

    Raises:
        RecordError: If it is not.
    """
    if not isinstance(row, dict) or name not in row:
        raise RecordError(f"{where}: there is no field {name!r}; is this the right file for the task?")
    return row[name]


def self_contained(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions that carry their own right answer, as the authors' AVQA and Ego-Exo4D files do."""
    return [
        Item(
            f"{prediction.id}#{number}",
            prediction.id,
            prediction.text,
            (str(field(prediction.row, "answer", f"prediction {number}")),),
        )
        for number, prediction in enumerate(predictions, 1)
    ]
