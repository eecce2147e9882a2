"""A finished evaluation, read back: every question with its record and what each arm said."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.data import Record, read_records
from pave.errors import ConfigError, RecordError
from pave.evaluate.compare import Rows, labels_of, scores_of
from pave.evaluate.report import Report
from pave.files import sha256_of
from pave.tasks.files import read_json
from pave.texts import TextFile, counted, read_object, read_text

Place = str | os.PathLike[str]
_MAKE = "give the out folder of `pave eval`"


@dataclass(frozen=True)
class Question:
    """One question of an evaluation.

    Attributes:
        record: What was asked about which clip.
        labels: Rows of the result table in which it counts, besides "all".
        said: Arm -> its answer.
        scores: Arm -> its score; None where the task scores all questions together.
    """

    record: Record
    labels: tuple[str, ...]
    said: Mapping[str, str]
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class Finished:
    """An evaluation that ran to its end.

    Attributes:
        folder: Where `pave eval` wrote it.
        report: Its results.
        questions: In the order of the records.
    """

    folder: Path
    report: Report
    questions: list[Question]


def read_finished(run: Place, records: Place | None = None) -> Finished:
    """Read what `pave eval` left in a folder.

    Args:
        run: Its out folder, or that of `pave demo`, which holds one.
        records: The records that were asked, where they no longer lie at the path that the results
            name (a relative one begins at the present folder).

    Raises:
        ConfigError: If the folder holds no finished evaluation, or the records are others than
            those that were asked.
        RecordError: If records or answers cannot be read.

    Example:
        >>> run = read_finished("runs/eval")  # doctest: +SKIP
        >>> run.questions[0].said             # doctest: +SKIP
        {'base': 'a dog', 'sound': 'a violin'}
    """
    folder = _folder(Path(run))
    report = _read_report(folder / "results.json")
    named = records or report.settings.get("records")
    if named is None:
        raise ConfigError(f"{folder}/results.json names no records; give them with --records")
    asked = _asked(Path(named), folder)
    items = {arm: _read_rows(folder, arm) for arm in report.arm_names()}
    first = next(iter(items.values()))
    # A shortened run asks fewer than the file holds.
    questions = [_question(record, items) for record in asked if record.id in first]
    if len(questions) < len(first):
        raise ConfigError(
            f"{named} lacks {len(first) - len(questions):,} of the "
            f"{counted(len(first), 'question')} that {folder} holds answers to; give the records "
            "that were asked with --records"
        )
    return Finished(folder, report, questions)


def _folder(run: Path) -> Path:
    """The folder of the evaluation itself."""
    inside = run / "eval"
    # `pave demo` writes results of its own beside those of its evaluation.
    if (inside / "results.json").is_file() and not (run / "settings.json").is_file():
        return inside
    if not (run / "results.json").is_file():
        raise ConfigError(f"{run} holds no results.json; {_MAKE} after it has finished")
    return run


def _read_report(file: Path) -> Report:
    try:
        return Report.model_validate_json(read_text(TextFile(file, ConfigError, _MAKE)))
    except ValidationError as error:
        raise ConfigError(f"{file} holds no results of an evaluation; {_MAKE}") from error


def _asked(file: Path, folder: Path) -> list[Record]:
    """The records, which have to be those of the answers.

    Raises:
        ConfigError: If there is no such file, or it has changed since.
    """
    if not file.is_file():
        raise ConfigError(
            f"{file}: no such file, although {folder} was evaluated on it; give the records with "
            "--records"
        )
    note = folder / "settings.json"
    known = None
    if note.is_file():  # what the evaluation said of itself
        known = read_object(note, ConfigError, _MAKE).get("records")
    # An answer beside another question would be worse than no page.
    if known is not None and known != sha256_of(file):
        raise ConfigError(
            f"{file} has changed since the evaluation; give the records that were asked with "
            "--records"
        )
    return read_records(file, check_media=False)  # a page can do without some of the clips


def _read_rows(folder: Path, arm: str) -> Rows:
    """An arm's rows by question: its items, or of an older pave its answers, which say less."""
    file = folder / "items" / f"{arm}.jsonl"
    if not file.is_file():
        file = folder / f"{arm}.jsonl"
    content = read_json(file)
    rows: Rows = {}
    if not isinstance(content, list):
        content = []  # refused below, as a file without answers
    for row in content:
        if not isinstance(row, dict) or "id" not in row:
            raise RecordError(f"{file} holds something other than answers; evaluate again")
        rows[str(row["id"])] = row
    if not rows:
        raise RecordError(f"{file} holds no answers; evaluate again")
    return rows


def _question(record: Record, items: Mapping[str, Rows]) -> Question:
    """A question with what each arm said to it."""
    said: dict[str, str] = {}
    scores: dict[str, float | None] = {}
    labels: list[str] = []
    for arm, rows in items.items():
        row = rows.get(record.id)
        if row is None:
            raise ConfigError(f"arm {arm!r} has no answer to {record.id!r}; evaluate again")
        said[arm] = str(row.get("prediction", ""))
        scores[arm] = _first(scores_of(row))
        labels = labels_of(row)  # the same for every arm
    return Question(record, tuple(labels), said, scores)


def _first(scores: Mapping[str, Any]) -> float | None:
    """The score that a task names first is its main one."""
    return next(iter(scores.values()), None)
