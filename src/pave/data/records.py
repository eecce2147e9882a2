"""Records: one training or test example per line of a JSONL file, checked as it is read.

A line names a video, the media of its side channels, and the turns of question and answer:

    {"id": "a1", "video": "clips/a1.mp4", "channels": {"audio": "clips/a1.mp4"}, "turns":
     [{"question": "Which animal do you hear?", "answer": "dog"}], "answers": ["dog"], "meta":
     {"family": "existence"}}

`video` and the text or list of texts of a channel are paths, relative to the folder of the file
unless absolute. Inside an object (a 3D scene) a text is a path if there is such a file or its name
has an ending (`0011.npz`), and a plain setting otherwise. A clip without a channel is legal: leave
it out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.data.record import Record, Turn, clip_key, map_paths, media_of
from pave.data.sources import Source, folder_of, rows_of, title_of
from pave.data.store import Records
from pave.data.views import Clips
from pave.errors import RecordError, first_problem
from pave.files import as_path, regular_file, write_text_atomically
from pave.media.archive import archive_of, is_there, with_archive
from pave.texts import counted

__all__ = [
    "Clips",
    "Record",
    "Records",
    "Turn",
    "clip_key",
    "each_record",
    "group_by_clip",
    "media_of",
    "missing_media",
    "open_records",
    "placed_records",
    "read_records",
    "write_records",
]

_FILE_NAME = re.compile(r"\.[A-Za-z]\w*$")
_SHOWN = 5  # missing files named in one message


def open_records(source: Source, *, check_media: bool = True) -> Records:
    """Read records of any kind of source without keeping them in memory; paths come back absolute.

    Args:
        source: A file (JSONL, JSON, CSV, Parquet, a tar of WebDataset), a folder of such tars or of
            a dataset that `datasets` saved, `datasets:NAME:SPLIT`, or rows such as a `Dataset`.
        check_media: Also make sure that every media file exists, so that a long run does not stop
            at its end.

    Returns:
        The records as a sequence: each is made when it is asked for.

    Raises:
        RecordError: For an unreadable source, a broken row (the message has its place and what is
            wrong), two records with one id, or missing media (the message lists them).
        ConfigError: If its reader needs a package that is not installed.

    Example:
        >>> records = open_records("train.parquet")  # doctest: +SKIP
        >>> len(records), len(group_by_clip(records))  # doctest: +SKIP
        (1000000, 100000)
    """
    title = title_of(source)
    records = Records()
    for place, record in placed_records(source):
        if isinstance(record, RecordError):
            raise record
        records.add(record, place)
    records.close()
    # What concerns several records is looked for when all are there.
    if not records:
        raise RecordError(f"{title} holds no records; write one JSON object per line")
    _must_be_single(title, records)
    if check_media:
        _must_be_there(title, records.clips())
    return records


def read_records(path: Source, *, check_media: bool = True) -> list[Record]:
    """As `open_records`, as a list; for files that memory holds easily.

    Args:
        path: The file or other source.
        check_media: Also make sure that every media file exists.

    Raises:
        RecordError: As `open_records`.
    """
    return list(open_records(path, check_media=check_media))


def each_record(source: Source) -> Iterator[Record | RecordError]:
    """As `open_records`, one by one; a row that is no record gives what is wrong with it.

    Args:
        source: The source.

    Raises:
        RecordError: If the source itself cannot be read.
    """
    for _, record in placed_records(source):
        yield record


def placed_records(source: Source) -> Iterator[tuple[str, Record | RecordError]]:
    """Place and record of each row of a source, paths absolute; nothing is compared with another.

    Raises:
        RecordError: If the source itself cannot be read.
    """
    absolute, inside = _locating(source)
    for place, values in rows_of(source):
        try:  # a value, so that whoever wants all problems can go on
            yield place, _record(place, values, absolute, inside)
        except RecordError as error:
            yield place, error


def _record(
    place: str, values: Any, absolute: Callable[[str], str], inside: Callable[[str], str]
) -> Record:
    """The values of a row as a record, every failure named with its place."""
    if isinstance(values, RecordError):
        raise values
    try:
        record = Record.model_validate(values)
    except ValidationError as error:
        field, what = first_problem(error)
        raise RecordError(
            f"{place}: {field or 'record'}: {what}; see the record format in the docs"
        ) from error
    try:
        return map_paths(record, absolute, inside)
    except RecordError as error:
        raise RecordError(f"{place}: {error}") from error


def _locating(source: Source) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """What makes a path of a record absolute, and what does so with a text inside an object."""
    folder = folder_of(source)

    def from_folder(text: str) -> str:
        if folder is not None:
            # Links are not followed: media keep the name that the user gave them.
            return os.path.abspath(os.path.join(folder, text))
        if not os.path.isabs(text):
            raise RecordError(
                f"{text}: these records are not in a folder, so paths must be absolute"
            )
        return text

    @lru_cache(maxsize=1 << 16)  # records of one clip name the same file again and again
    def absolute(text: str) -> str:
        return with_archive(text, from_folder)

    def inside(text: str) -> str:
        """Within an object: a path if it looks like one.

        What exists in the current folder alone is a path too, and missing: nothing is ever read
        from there.
        """
        if folder is None and not os.path.isabs(text):
            return text
        place = absolute(text)
        if _FILE_NAME.search(text) or os.path.exists(place) or os.path.exists(text):
            return place
        return text

    return absolute, inside


def write_records(path: str | os.PathLike[str], records: Iterable[Record]) -> Path:
    """Write records as JSONL, atomically.

    Paths below the file's folder become relative, so that the folder can be moved.
    """
    file = as_path(path, RecordError, "a file of records")
    folder = os.path.abspath(file.parent)

    def relative(text: str) -> str:
        if not os.path.isabs(text):
            return text
        # From outside, a relative path would break as soon as the folder is moved.
        if os.path.commonpath([folder, os.path.abspath(text)]) != folder:
            return text
        return Path(os.path.relpath(text, folder)).as_posix()

    def kept(text: str) -> str:
        return with_archive(text, relative)

    lines = []
    for record in _listed(records):
        if not isinstance(record, Record):
            raise RecordError(f"records are a list of pave.Record, it holds {record!r}")
        # Without defaults, so that a line says only what its record has.
        row = map_paths(record, kept, kept).model_dump(exclude_defaults=True)
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text_atomically(file, "".join(lines))
    return file


def _listed(records: Iterable[Record]) -> Iterable[Record]:
    """Something with records in it; what it holds is looked at as it is read.

    Raises:
        RecordError: If it is nothing of the kind.
    """
    if not isinstance(records, Iterable):
        raise RecordError(f"records are a list of pave.Record, got {type(records).__name__}")
    return records


def missing_media(records: Iterable[Record]) -> list[str]:
    """Every path that some record names and that does not exist, each once, in order."""
    return [path for path in media_of(_listed(records)) if not is_there(path)]


def group_by_clip(records: Sequence[Record]) -> Sequence[Sequence[Record]]:
    """Records that share one clip, together, in the order of the file."""
    if isinstance(records, Records):
        return records.clips()
    groups: dict[str, list[Record]] = {}
    for record in _listed(records):
        groups.setdefault(clip_key(record), []).append(record)
    return list(groups.values())


def _must_be_single(title: str, records: Records) -> None:
    """Refuse two records with one id."""
    for first, second in records.doubles():
        raise RecordError(
            f"{records.place(second)}: id {records[second].id!r} was used at "
            f"{records.place(first)}; ids must be unique"
        )


def _must_be_there(title: str, clips: Clips) -> None:
    """Refuse records whose media is missing, before a long run finds out at its end."""
    firsts = (clip[0] for clip in clips)
    missing = missing_media(firsts)
    if not missing:
        _must_be_files(title, clips)
        return
    shown = ", ".join(missing[:_SHOWN])
    if len(missing) > _SHOWN:
        shown += ", ..."
    raise RecordError(
        f"{title}: {counted(len(missing), 'media file is missing', 'media files are missing')}: "
        f"{shown}; paths are relative to the records file"
    )


def _must_be_files(title: str, clips: Clips) -> None:
    """Refuse media that are no files: a reader would wait at a pipe for ever."""
    for path in media_of(clip[0] for clip in clips):
        if not os.path.isdir(path):
            regular_file(archive_of(path), RecordError, f"a file of {title}")
