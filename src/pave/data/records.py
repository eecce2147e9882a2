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
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pave.errors import RecordError, first_problem
from pave.files import regular_file, write_text_atomically
from pave.texts import TextError, TextFile, lines_of, parse_json, read_text

JSON: TypeAlias = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
_FILE_NAME = re.compile(r"\.[A-Za-z]\w*$")
_SHOWN = 5  # missing files named in one message
# What `meta.needs` said before it became `meta.channel`, where the word itself changed too.
_OLD_CHANNELS = {"sound": "audio", "visual": "video"}


class Turn(BaseModel):
    """One question and, where it is known, its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = Field(description="What is asked, without any prompt template around it.")
    answer: str | None = Field(
        default=None, description="What to learn to say; null for a question that is only asked."
    )


class Record(BaseModel):
    """One example: a clip, its side channels, and a dialogue about it.

    Example:
        >>> turn = Turn(question="What sounds?", answer="a dog")
        >>> Record(id="a1", video="a.mp4", turns=[turn]).turns[0].answer
        'a dog'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, description="Unique name of the record within its file.")
    video: str = Field(min_length=1, description="A video file, or a folder of frames.")
    channels: dict[str, Any] = Field(
        default_factory=dict,
        description="Channel name -> media: a path, a list of paths, or an object of them.",
    )
    turns: list[Turn] = Field(
        min_length=1, description="Questions and answers in the order they are asked."
    )
    answers: list[str] = Field(
        default_factory=list, description="Accepted answers of the last turn, for scoring."
    )
    options: list[str] = Field(
        default_factory=list, description="The choices of a multiple-choice question."
    )
    meta: dict[str, Any] = Field(
        default_factory=dict,
        description="Anything else, e.g. the question's `family`, and the `channel` that it takes.",
    )

    @field_validator("channels")
    @classmethod
    def _media(cls, channels: dict[str, Any]) -> dict[str, Any]:
        """A missing channel is left out of the record; there is no other way to say it."""
        for name, media in channels.items():
            if not _is_media(media):
                raise ValueError(
                    f"{name} must be a path, a list of paths or an object, got {media!r}; leave "
                    "out what is missing"
                )
        return channels

    @field_validator("meta")
    @classmethod
    def _old_meta(cls, meta: dict[str, Any]) -> dict[str, Any]:
        """Records written before `meta.needs` became `meta.channel` are read as if written now."""
        needs = meta.get("needs")
        if "channel" in meta or not isinstance(needs, str):
            return meta
        meta = dict(meta)
        del meta["needs"]
        meta["channel"] = _OLD_CHANNELS.get(needs, needs)
        return meta


def read_records(path: str | os.PathLike[str], *, check_media: bool = True) -> list[Record]:
    """Read a JSONL file of records; paths come back absolute.

    Args:
        path: The file. Empty lines are skipped.
        check_media: Also make sure that every media file exists, so that a long run does not stop
            at its end.

    Raises:
        RecordError: For an unreadable file, a broken line (the message has its number and what is
            wrong), two records with one id, or missing media (the message lists them).
    """
    file = Path(path)
    places: dict[str, int] = {}  # id -> its line
    records = []
    for number, record in _lines(file):
        if isinstance(record, RecordError):
            raise record
        if record.id in places:
            raise RecordError(
                f"{file}:{number}: id {record.id!r} was used on line {places[record.id]}; ids must "
                "be unique"
            )
        places[record.id] = number
        records.append(record)
    if not records:
        raise RecordError(f"{file} holds no records; write one JSON object per line")
    if check_media:
        _must_be_there(file, records)
    return records


def each_record(path: str | os.PathLike[str]) -> Iterator[Record | RecordError]:
    """As `read_records`, line by line; a line that is no record gives what is wrong with it.

    Args:
        path: The file.

    Raises:
        RecordError: If the file itself cannot be read.
    """
    for _, record in _lines(Path(path)):
        yield record


def _lines(file: Path) -> Iterator[tuple[int, Record | RecordError]]:
    """Number and record of each line, paths absolute."""
    text = read_text(TextFile(file, RecordError, "give a JSONL file of records in UTF-8"))

    def absolute(text: str) -> str:
        # Links are not followed: media keep the name that the user gave them.
        return os.path.abspath(file.parent / text)

    def inside(text: str) -> str:
        """Within an object: a path if it looks like one.

        What exists in the current folder alone is a path too, and missing: nothing is ever read
        from there.
        """
        place = absolute(text)
        if _FILE_NAME.search(text) or os.path.exists(place) or os.path.exists(text):
            return place
        return text

    for number, line in lines_of(text):
        try:
            record = _parse(
                line, f"{file}:{number}", lambda record: _map_paths(record, absolute, inside)
            )
        except RecordError as error:
            yield number, error
        else:
            yield number, record


def write_records(path: str | os.PathLike[str], records: Iterable[Record]) -> Path:
    """Write records as JSONL, atomically.

    Paths below the file's folder become relative, so that the folder can be moved.
    """
    file = Path(path)
    folder = os.path.abspath(file.parent)

    def relative(text: str) -> str:
        if not os.path.isabs(text):
            return text
        # From outside, a relative path would break as soon as the folder is moved.
        if os.path.commonpath([folder, os.path.abspath(text)]) != folder:
            return text
        return Path(os.path.relpath(text, folder)).as_posix()

    lines = []
    for record in records:
        # Without defaults, so that a line says only what its record has.
        row = _map_paths(record, relative, relative).model_dump(exclude_defaults=True)
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text_atomically(file, "".join(lines))
    return file


def missing_media(records: Iterable[Record]) -> list[str]:
    """Every path that some record names and that does not exist, each once, in order."""
    return [path for path in media_of(records) if not os.path.exists(path)]


def media_of(records: Iterable[Record]) -> list[str]:
    """Every path that some record names, each once, in order."""
    paths: dict[str, None] = {}

    def note(text: str) -> str:
        paths.setdefault(text)
        return text

    def inside(text: str) -> str:
        # Within an object, paths have become absolute; what has not is a plain setting.
        return note(text) if os.path.isabs(text) else text

    for record in records:
        _map_paths(record, note, inside)
    return list(paths)


def clip_key(record: Record) -> str:
    """A text that is equal for two records exactly when they share the video and all channels."""
    return json.dumps([record.video, record.channels], sort_keys=True, ensure_ascii=False)


def group_by_clip(records: Sequence[Record]) -> list[list[Record]]:
    """Records that share one clip, together, in the order of the file."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(clip_key(record), []).append(record)
    return list(groups.values())


def _is_media(media: object) -> bool:
    """Whether something can be a channel's media."""
    if isinstance(media, list):
        return bool(media) and all(path and isinstance(path, str) for path in media)
    return isinstance(media, (str, dict)) and bool(media)


def _must_be_there(file: Path, records: Sequence[Record]) -> None:
    """Refuse records whose media is missing, before a long run finds out at its end."""
    missing = missing_media(records)
    if not missing:
        _must_be_files(file, records)
        return
    shown = ", ".join(missing[:_SHOWN])
    if len(missing) > _SHOWN:
        shown += ", ..."
    raise RecordError(
        f"{file}: {len(missing)} media files are missing: {shown}; paths are relative to the "
        "records file"
    )


def _must_be_files(file: Path, records: Sequence[Record]) -> None:
    """Refuse media that are no files: a reader would wait at a pipe for ever."""
    for path in media_of(records):
        if not os.path.isdir(path):
            regular_file(path, RecordError, f"a file of {file}")


def _parse(line: str, where: str, locate: Callable[[Record], Record]) -> Record:
    """One line as a record with its paths located, every failure named with `where`."""
    try:
        return locate(Record.model_validate(parse_json(line)))
    except ValidationError as error:
        field, what = first_problem(error)
        raise RecordError(
            f"{where}: {field or 'record'}: {what}; see the record format in the docs"
        ) from error
    except TextError as error:
        raise RecordError(f"{where}: {error}; write one flat object per line, as UTF-8") from error


def _map_paths(
    record: Record, change: Callable[[str], str], inside: Callable[[str], str]
) -> Record:
    """The record with `change` applied to its paths, and `inside` to texts within objects."""
    channels = {name: _walk(media, change, inside) for name, media in record.channels.items()}
    return record.model_copy(update={"video": change(record.video), "channels": channels})


def _walk(media: JSON, change: Callable[[str], str], inside: Callable[[str], str]) -> JSON:
    """The media with its texts changed; keys, numbers and the like stay."""
    if isinstance(media, str):
        return change(media)
    if isinstance(media, list):
        return [_walk(item, change, inside) for item in media]
    if isinstance(media, dict):
        return {key: _walk(item, inside, inside) for key, item in media.items()}
    return media
