"""An arm's file: one JSON line a question, written as predictions come.

It is read again when an interrupted evaluation goes on. `<arm>.jsonl` holds an arm's predictions in
the order of the batches. Where several processes share the work, each writes
`<arm>.part-<i>-of-<n>.jsonl`, and whoever comes last puts the rows into `<arm>.jsonl`, in the order
in which one process would have written them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pave.data import Record
from pave.errors import ConfigError
from pave.files import (
    entries_of,
    make_folder,
    regular_file,
    write_text_atomically,
    writing,
    written_lines,
)
from pave.tasks import Task
from pave.tasks.items import references_of
from pave.texts import read_object

_ADVICE = "delete the file, and pave asks its questions again"
_NO_ROW = f"is not an answer of an evaluation; {_ADVICE}"
ROW_BEGIN = b'{"id": '
"""How every line begins in a file of answers."""
Key = tuple[str, str]
"""(arm, record id)"""


@dataclass(frozen=True)
class ArmRow:
    """What one arm predicted for one question.

    Attributes:
        id: The record's id.
        arm: The arm.
        family: Kind of question.
        question: What was asked.
        answer: The first accepted answer.
        prediction: What the arm predicted.
        correct: Whether it is right, where the task judges one by one; None where it scores all of
            them together, when all are there.
    """

    id: str
    arm: str
    family: str
    question: str
    answer: str
    prediction: str
    correct: bool | None


_ROW = TypeAdapter(ArmRow)


def row_of(task: Task, record: Record, arm: str, prediction: str) -> ArmRow:
    """A row of an arm's file.

    Raises:
        RecordError: If the record has no accepted answer.

    Example:
        >>> from pave.data import Turn
        >>> from pave.tasks import get_task
        >>> record = Record(id="1", video="v.mp4", turns=[Turn(question="What?", answer="dog")])
        >>> row_of(get_task("exact"), record, "base", "A dog.").correct
        True
    """
    references = references_of(record)
    correct = None
    if task.judge is not None:
        correct = task.judge(prediction, references)
    return ArmRow(
        id=record.id,
        arm=arm,
        family=str(record.meta.get("family", "other")),
        question=record.turns[-1].question,
        answer=references[0],
        prediction=prediction,
        correct=correct,
    )


def read_rows(path: Path, arm: str, *, mend: bool = True) -> dict[Key, ArmRow]:
    """Rows written so far.

    Args:
        path: The file.
        arm: Whose answers it holds.
        mend: Take a last line off the file that was cut short by a kill. Never for a file that
            another process may be writing: there the rest of the line is on its way.

    Raises:
        ConfigError: If a line is no row of this arm: no kill does that.
    """
    if not path.exists():
        return {}
    regular_file(path, ConfigError, "a file of answers")
    found = {}
    # A kill may have cut the last one short; nothing was written after it.
    for number, line in written_lines(path, ROW_BEGIN, ConfigError, _NO_ROW, mend=mend):
        row = _parse(line, f"{path}:{number}", arm)
        found[arm, row.id] = row
    return found


def append_rows(path: Path, rows: Iterable[ArmRow]) -> None:
    """Add lines to the file.

    They are handed to the operating system at once, so that a killed process loses none of them.
    """
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.writelines(map(_line, rows))


def write_rows(path: Path, rows: Iterable[ArmRow]) -> None:
    """Write a whole file, complete or not at all."""
    write_text_atomically(path, "".join(map(_line, rows)))


def part_file(out: Path, arm: str, share: tuple[int, int]) -> Path:
    """Where a process that asks only a share writes.

    Example:
        >>> part_file(Path("out"), "sound", (0, 2)).name
        'sound.part-1-of-2.jsonl'
    """
    part, parts = share
    return out / f"{arm}.part-{part + 1}-of-{parts}.jsonl"


def all_rows(out: Path, arm: str) -> dict[Key, ArmRow]:
    """What any process has written so far; no file is touched."""
    found: dict[Key, ArmRow] = {}
    for file in (out / f"{arm}.jsonl", *entries_of(out, f"{escape(arm)}.part-*-of-*.jsonl")):
        found |= read_rows(file, arm, mend=False)
    return found


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder belong to these settings, or check that it does.

    Raises:
        ConfigError: If it holds predictions made with other settings: mixing them would make a
            result that no run gives.
    """
    make_folder(out)
    file = out / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True)
    if not file.exists():
        write_text_atomically(file, text)
        return
    advice = "choose another out folder, or delete it with the answers beside it"
    known = read_object(file, ConfigError, advice)
    wanted = json.loads(text)  # tuples are lists there, as in the file
    keys = sorted(known.keys() | wanted.keys())
    changed = [key for key in keys if known.get(key) != wanted.get(key)]
    if changed:
        raise ConfigError(
            f"{out} holds answers made with other settings ({', '.join(changed)}); choose another "
            "out folder, or delete it"
        )


def _line(row: ArmRow) -> str:
    return json.dumps(asdict(row), ensure_ascii=False) + "\n"


def _parse(line: bytes, where: str, arm: str) -> ArmRow:
    """The row of a complete line."""
    try:
        row = _ROW.validate_json(line, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_NO_ROW}") from error
    if row.arm != arm:
        raise ConfigError(f"{where}: belongs to arm {row.arm!r}, not to {arm!r}; {_ADVICE}")
    return row
