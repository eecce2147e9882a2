"""Rows of tables as records: columns with a meaning, channels by `channels.NAME`, the rest in meta.

video      question        answer  channels.audio  family
a.mp4      What sounds?    a dog   a.mp4           existence
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pave.data.sources import Row, register_reader
from pave.data.table import BETWEEN, rows_of_csv
from pave.errors import RecordError

CHANNEL = "channels."
"""How the column of a channel's media begins."""
_FIELDS = ("id", "video", "channels", "turns", "meta")
_LISTS = ("answers", "options")


class Table:
    """Turns rows into the values of records, and names those that have no id.

    Example:
        >>> Table().values({"video": "a.mp4", "question": "Who?", "family": "who"})["id"]
        'a-1'
    """

    def __init__(self) -> None:
        """No row has been seen yet."""
        self._asked: dict[str, int] = {}  # clip -> rows about it so far

    def values(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the record that a row stands for; empty cells say nothing."""
        values: dict[str, Any] = {}
        turn: dict[str, Any] = {}
        channels: dict[str, Any] = {}
        meta: dict[str, Any] = {}
        for name, value in cells.items():
            # What is left out, whether as a null or as an empty cell of a text file.
            if value is None or value == "":
                continue
            if name in _FIELDS:
                values[name] = _without_none(value)
            elif name in _LISTS:
                values[name] = _several(value)
            elif name in ("question", "answer"):
                turn[name] = value
            elif name.startswith(CHANNEL):
                channels[name.removeprefix(CHANNEL)] = _without_none(value)
            else:
                meta[name] = _without_none(value)
        # A row may hold its turns in a column, as records do.
        if turn and "turns" not in values:
            values["turns"] = [turn]
        for name, more in (("channels", channels), ("meta", meta)):
            # A typed table may hold the whole object in a column, and some of it beside.
            if more:
                values[name] = {**values.get(name, {}), **more}
        # Whole numbers are common as ids, and a record's id is a text.
        values["id"] = self._id(values)
        return values

    def _id(self, values: Mapping[str, Any]) -> str:
        """The row's id; without one, the name of its clip and a number."""
        if "id" in values:
            return str(values["id"])
        clip = str(values.get("video", ""))
        self._asked[clip] = self._asked.get(clip, 0) + 1
        return f"{PurePosixPath(clip).stem}-{self._asked[clip]}"


@register_reader("csv")
@register_reader("tsv")
def read_csv(file: Path) -> Iterator[Row]:
    """A question a line, below the names of the columns."""
    table = Table()
    for row in rows_of_csv(file, ("video", "question")):
        if not row.cells["question"]:
            yield row.place, RecordError(f"{row.place}: the column question is empty")
            continue
        yield row.place, table.values(row.cells)


def _several(value: Any) -> Any:
    """The values of a cell that may hold several."""
    if not isinstance(value, str):
        return value
    # As in the table that `pave records from-csv` reads.
    return list(filter(None, map(str.strip, value.split(BETWEEN))))


def _without_none(value: Any) -> Any:
    """A value without the places that a typed table fills in where a row has nothing."""
    if isinstance(value, Mapping):
        kept = {}
        for key, item in value.items():
            if item is not None:
                kept[key] = _without_none(item)
        return kept
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
