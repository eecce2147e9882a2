"""Reading rows whose shape is another's: its fields, and pairing as the authors do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pave.errors import RecordError
from pave.tasks.task import Item, Prediction
from pave.texts import counted

_SHOWN = 5  # names in a message


def in_order(
    predictions: Sequence[Prediction], references: Any, key: str = "question_id"
) -> list[tuple[Prediction, dict[str, Any]]]:
    """Predictions beside references, line by line, as the authors' scripts pair them.

    Args:
        predictions: The predictions.
        references: The parsed reference file, a list of objects.
        key: Field that must agree; empty for none.

    Raises:
        RecordError: If the file is no such list, the lengths differ, or a pair does not agree.
            (Their evaluation skips scenes without media, and their scorer then stops at the length;
            ours says which question is missing.)
    """
    if not isinstance(references, list) or not all(isinstance(row, dict) for row in references):
        raise RecordError("the reference file must hold a list of objects")
    if key:
        _check_all_predicted(predictions, references, key)
    if len(predictions) != len(references):
        raise RecordError(
            f"{counted(len(predictions), 'prediction')} but "
            f"{counted(len(references), 'reference')}; they are paired line by line"
        )
    pairs = list(zip(predictions, references, strict=True))
    for number, (prediction, row) in enumerate(pairs, 1):
        # As texts: one file may number its questions and the other spell the numbers out.
        if key and prediction.id != str(row[key]):
            raise RecordError(
                f"line {number}: prediction of {prediction.id!r} beside reference {row[key]!r}; "
                "put both into the same order"
            )
    return pairs


def _check_all_predicted(
    predictions: Sequence[Prediction], references: Sequence[dict[str, Any]], key: str
) -> None:
    """Say which questions have no prediction, rather than that two lengths differ.

    Raises:
        RecordError: If there are such.
    """
    predicted = {prediction.id for prediction in predictions}
    missing = []
    for row in references:
        name = str(row.get(key))
        if name not in predicted:
            missing.append(name)
    if not missing:
        return
    shown = ", ".join(missing[:_SHOWN])
    if len(missing) > _SHOWN:
        shown += ", ..."
    raise RecordError(
        f"{len(missing)} of {counted(len(references), 'question')} without a prediction: {shown}; "
        "predict them, or give --records"
    )


def self_contained(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions that carry their own right answer: the authors' of AVQA and Ego-Exo4D."""
    items = []
    for number, prediction in enumerate(predictions, 1):
        item = Item(
            id=f"{prediction.id}#{number}",  # the files name videos, which repeat
            cluster=prediction.id,
            prediction=prediction.text,
            references=(text(prediction.row, "answer", f"prediction {number}"),),
        )
        items.append(item)
    return items


def field(row: Any, name: str, where: str) -> Any:
    """A field that must be there.

    Raises:
        RecordError: If it is not.
    """
    if not isinstance(row, dict) or name not in row:
        raise RecordError(
            f"{where}: there is no field {name!r}; check that this is the right file for the task"
        )
    return row[name]


def text(row: Any, name: str, where: str) -> str:
    """A field that must hold a text; a number counts as one.

    Raises:
        RecordError: If it is not there, or holds something else, such as null or a list.
    """
    return as_text(field(row, name, where), f"{where}: {name!r}")


def texts(row: Any, name: str, where: str) -> tuple[str, ...]:
    """A field that must hold a list of texts.

    Raises:
        RecordError: If it is not there, or holds something else.
    """
    found = field(row, name, where)
    if not isinstance(found, list):
        raise RecordError(
            f"{where}: {name!r} must be a list of strings, got {type(found).__name__}"
        )
    return tuple(as_text(value, f"{where}: {name!r}") for value in found)


def as_text(value: Any, where: str) -> str:
    """A value that must be a text or a number.

    Raises:
        RecordError: If it is neither.
    """
    if isinstance(value, str):
        return value
    # True is a number to Python, and NaN one to JSON's reader; neither is meant as an answer.
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    kind = "null" if value is None else type(value).__name__
    raise RecordError(f"{where} must be a string, got {kind}")


# What content of another shape gives, where a reader takes a field or a number for granted.
_SHAPE_ERRORS = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    SyntaxError,  # of `ast.literal_eval`
    RecursionError,
)


@contextmanager
def in_format(files: str, title: str, wanted: str) -> Iterator[None]:
    """Whatever goes wrong while a task reads its files means that they are none of its own.

    Args:
        files: What is read.
        title: The task.
        wanted: What should have been given.

    Raises:
        RecordError: In place of the errors that content of another shape gives.
    """
    try:
        yield
    except _SHAPE_ERRORS as error:
        what = " ".join(str(error).split())
        if isinstance(error, KeyError):
            what = f"no field {error}"
        raise RecordError(
            f"{files}: not in the format of {title} ({what}); expected: {wanted}"
        ) from error
