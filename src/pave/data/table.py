"""Records from a CSV file with a line for each question, and a folder of clips."""

from __future__ import annotations

import csv
import io
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pave.data.records import Record, Turn
from pave.errors import ConfigError, RecordError
from pave.registry import did_you_mean
from pave.texts import TextFile, counted, read_text

NEEDED = ("video", "question", "answer")
"""Columns that every table has to have."""
OWN = (*NEEDED, "id", "answers", "options")
"""Columns with a meaning; what else there is goes into `meta`."""
BETWEEN = "|"
"""Parts the values of `answers` and `options`, which may hold commas."""
DELIMITERS = (",", ";", "\t")
"""What spreadsheets write between cells, by country."""
_SHOWN = 5  # missing clips named in one message


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        place: File and line, for messages.
        cells: Column -> text, without spaces around it.
    """

    place: str
    cells: Mapping[str, str]

    def parts(self, column: str) -> list[str]:
        """The values in a cell that may hold several."""
        found = map(str.strip, self.cells.get(column, "").split(BETWEEN))
        return list(filter(None, found))


def records_from_csv(
    path: str | os.PathLike[str],
    clips: str | os.PathLike[str],
    channels: Mapping[str, str] | None = None,
) -> list[Record]:
    """Make a record of every line of a CSV file.

    Args:
        path: The file, in UTF-8, with a line of column names first. It needs the columns `video`,
            `question` and `answer`; `id`, `answers` and `options` are read too, and further ones
            (such as `family`) go into `meta`.
        clips: Folder of the files that the column `video` names.
        channels: Channel -> column with its file in `clips`. `video` is the clip itself, for a
            channel that is a track of it; where a cell is empty, the clip lacks the channel.

    Returns:
        A record a line, in the order of the file, with absolute paths.

    Raises:
        RecordError: If the file cannot be read, a column is missing, a line has no question, two
            lines have one id, or a clip is not there. The message names file and line.

    Example:
        >>> records_from_csv("questions.csv", "clips", {"audio": "video"})  # doctest: +SKIP
    """
    folder = Path(clips)
    if not folder.is_dir():
        raise RecordError(f"there is no folder of clips at {folder}; check the path")
    wanted: dict[str, str] = {}
    for channel, column in (channels or {}).items():
        # Column names are compared in small letters.
        wanted[channel] = _plain(column)
    rows = list(rows_of_csv(Path(path), [*NEEDED, *wanted.values()]))
    if not rows:
        raise RecordError(f"{path} holds only the column names; add a line for each question")
    _must_be_there(Path(path), rows, folder, {"video", *wanted.values()})
    records = []
    places: dict[str, str] = {}  # id -> where it stands
    asked: dict[str, int] = {}  # clip -> questions about it so far
    for row in rows:
        asked[row.cells["video"]] = asked.get(row.cells["video"], 0) + 1
        record = _record(row, folder, wanted, asked[row.cells["video"]])
        if record.id in places:
            raise RecordError(
                f"{row.place}: the id {record.id!r} was used at {places[record.id]}; give every "
                "line its own id, or leave the column out"
            )
        places[record.id] = row.place
        records.append(record)
    return records


def split_by_clip(
    records: Sequence[Record], share: float, seed: int = 0
) -> tuple[list[Record], list[Record]]:
    """Hold out some clips for testing, each with all its questions.

    Split by question, a test would ask about clips that training has seen.

    Args:
        records: The records.
        share: Of the clips, between 0 and 1; at least one is held out and one is left.
        seed: Which clips; the same seed chooses the same ones.

    Returns:
        Training and test records, in the order of the file.

    Raises:
        ConfigError: If the share is out of range, or there is one clip only.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share of test clips must be between 0 and 1, got {share}")
    # By video alone: of one video, some lines may have a channel that others lack.
    clips = list(dict.fromkeys(record.video for record in records))
    if len(clips) < 2:
        raise ConfigError(
            "all questions are about one clip; a test file needs at least one more clip"
        )
    count = min(max(round(share * len(clips)), 1), len(clips) - 1)
    held_out = set(random.Random(seed).sample(clips, count))
    train: list[Record] = []
    test: list[Record] = []
    # In the order of the file: training shuffles by itself.
    for record in records:
        if record.video in held_out:
            test.append(record)
        else:
            train.append(record)
    return train, test


def rows_of_csv(file: Path, needed: Sequence[str]) -> Iterator[Row]:
    """The lines of a CSV file below the column names.

    Args:
        file: The file, in UTF-8.
        needed: Columns that it has to have.

    Raises:
        RecordError: If it cannot be read; the message names the line.
    """
    text = read_text(TextFile(file, RecordError, "save the table as CSV in UTF-8"))
    head = text.partition("\n")[0]
    # A cell may hold line breaks, so the reader counts the lines. These end at "\n" alone: a
    # question may hold what else `splitlines` takes for an end.
    lines = io.StringIO(text)
    reader = csv.reader(lines, delimiter=_delimiter(head), strict=True)
    try:
        names = _names(file, next(reader, []), needed)
        for cells in reader:
            place = f"{file}:{reader.line_num}"
            if not any(map(str.strip, cells)):  # spreadsheets write empty lines at the end
                continue
            if len(cells) != len(names):
                raise RecordError(
                    f"{place}: {counted(len(cells), 'cell')} for "
                    f"{counted(len(names), 'column')}; put quotes around text that contains commas"
                )
            yield Row(place, dict(zip(names, map(str.strip, cells), strict=True)))
    except csv.Error as error:
        raise RecordError(f"{file}:{reader.line_num}: {error}; save the table as CSV") from error


def _delimiter(head: str) -> str:
    """What parts the column names: the first that makes `question` one of them."""
    for delimiter in DELIMITERS:
        # Quotes around a name are still there: nothing has parsed the line yet.
        names = head.casefold().replace('"', "").split(delimiter)
        if "question" in map(str.strip, names):
            return delimiter
    # No such column at all is told of by whoever needs it.
    return DELIMITERS[0]


def _names(file: Path, head: Sequence[str], needed: Sequence[str]) -> list[str]:
    """The column names in small letters, all that are needed among them, none twice."""
    names = list(map(_plain, head))
    # The channel of a flag may have the column of another, so a name may come twice.
    lost = list(dict.fromkeys(needed))
    for name in names:
        if name in lost:
            lost.remove(name)
    if lost:
        raise RecordError(
            f"{file}: there is no column {', '.join(lost)}; the first line must name the "
            f"columns, but it holds: {', '.join(names) or 'nothing'}"
        )
    for name in names:
        # Which of the two is meant would be a guess.
        if names.count(name) > 1:
            raise RecordError(f"{file}: two columns are called {name!r}; rename one of them")
    return names


def _plain(name: str) -> str:
    """A column's name as it is compared."""
    return name.strip().casefold()


def _must_be_there(file: Path, rows: Sequence[Row], folder: Path, columns: set[str]) -> None:
    """Refuse a table that names clips which are not in the folder."""
    lost: dict[str, str] = {}  # clip -> the first line that names it
    for row in rows:
        for column in sorted(columns):
            name = row.cells[column]
            # Without a video there is nothing to ask about; a channel may be missing.
            if not name and column == "video":
                raise RecordError(
                    f"{row.place}: the column video is empty; enter the name of a clip"
                )
            if name and not os.path.exists(folder / name):
                lost.setdefault(name, row.place)
    if not lost:
        return
    first = next(iter(lost))
    hint = did_you_mean(first, sorted(os.listdir(folder)))
    shown = ", ".join(list(lost)[:_SHOWN])
    if len(lost) > _SHOWN:
        shown += ", ..."
    raise RecordError(
        f"{file}: {counted(len(lost), 'file is', 'files are')} not in {folder}: {shown}{hint}; the "
        f"first one is in {lost[first]}"
    )


def _record(row: Row, folder: Path, channels: Mapping[str, str], number: int) -> Record:
    """The record of a line, the so-manyth question about its clip."""
    cells = row.cells
    if not cells["question"]:
        raise RecordError(f"{row.place}: the column question is empty")
    media = {}
    for channel, column in channels.items():
        name = cells[column]
        # A clip without the channel is legal: its record leaves the channel out.
        if name:
            media[channel] = os.path.abspath(folder / name)
    rest = dict(cells)
    # What is left of the cells is the user's own.
    for name, text in cells.items():
        if not text or name in OWN or name in channels.values():
            del rest[name]
    return Record(
        id=cells.get("id") or f"{Path(cells['video']).stem}-{number}",
        video=os.path.abspath(folder / cells["video"]),
        channels=media,
        turns=[Turn(question=cells["question"], answer=cells["answer"] or None)],
        answers=row.parts("answers"),
        options=row.parts("options"),
        meta=rest,
    )
