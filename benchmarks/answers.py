"""Raw answers of measurements, small enough to stay in the repository.

Worlds, caches and runs are gigabytes and may be deleted; what every arm said about every question
is here, in `benchmarks/measured/<measurement>/seed-<n>/<part>.json`. A page can be written anew
from these files alone, and further seeds or arms are added to what is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pave.files import make_folder, write_text_atomically

MEASURED = Path(__file__).parent / "measured"


@dataclass(frozen=True)
class Answers:
    """A table of one part of a measurement on one world.

    Attributes:
        about: How it was measured: settings, costs, processor.
        rows: Id of a question (or a cell) -> column -> text or number. Columns are what is known of
            the question (its clip, family and answer) and what each arm said.
    """

    about: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, column: str, values: Mapping[str, Any]) -> None:
        """Fill a column, of the rows that are named; what was there is replaced.

        Args:
            column: Its name.
            values: Id -> value.
        """
        for name, value in values.items():
            self.rows.setdefault(name, {})[column] = value

    def column(self, name: str) -> dict[str, Any]:
        """Id -> value, of the rows that have one."""
        return {row: values[name] for row, values in self.rows.items() if name in values}


def answers_file(measurement: str, seed: int, part: str, root: Path = MEASURED) -> Path:
    """Where the answers of a part lie.

    Example:
        >>> answers_file("joint", 1, "audio").relative_to(MEASURED).as_posix()
        'joint/seed-1/audio.json'
    """
    return root / measurement / f"seed-{seed}" / f"{part}.json"


def read_answers(file: Path) -> Answers:
    """What is there; an empty table without the file."""
    if not file.is_file():
        return Answers()
    found = json.loads(file.read_text("utf-8"))
    names, columns = found["ids"], found["columns"]
    rows: dict[str, dict[str, Any]] = {name: {} for name in names}
    for column, values in columns.items():
        for name, value in zip(names, values, strict=True):
            if value is not None:
                rows[name][column] = value
    return Answers(found["about"], rows)


def write_answers(file: Path, answers: Answers) -> None:
    """Write a table: a line for each column, sorted, so that a further arm is one further line."""
    names = sorted(answers.rows)
    columns = sorted({column for row in answers.rows.values() for column in row})
    lines = [f'"about": {_text(answers.about)}', f'"ids": {_text(names)}']
    table = []
    for column in columns:
        values = [answers.rows[name].get(column) for name in names]
        table.append(f"{_text(column)}: {_text(values)}")
    lines.append('"columns": {\n' + ",\n".join(table) + "\n}")
    make_folder(file.parent)
    write_text_atomically(file, "{\n" + ",\n".join(lines) + "\n}\n")


def check_settings(file: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Nothing, where what is kept was measured as it would be now.

    Args:
        file: Where it is kept.
        known: The settings there.
        wanted: Those of now.

    Raises:
        SystemExit: If they differ: such answers do not belong into one table.
    """
    if known != wanted:
        raise SystemExit(f"{file} holds answers of other settings: {known}")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
