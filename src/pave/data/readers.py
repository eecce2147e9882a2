"""Readers of JSONL, JSON, and tar files in the way of WebDataset."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from pave.data.rows import Table
from pave.data.sources import Row, register_reader
from pave.errors import MediaError, RecordError
from pave.media.archive import Archive, member_path
from pave.texts import DOCUMENT_BYTES, TextError, TextFile, parse_json, read_json, read_lines

VIDEOS = ("mp4", "mkv", "webm", "mov", "avi", "m4v")
"""Endings of the member that is a sample's clip."""


@register_reader("jsonl")
def read_jsonl(file: Path) -> Iterator[Row]:
    """A record a line; lines are read one at a time."""
    kind = TextFile(file, RecordError, "give a JSONL file of records in UTF-8")
    for number, line in read_lines(kind):
        place = f"{file}:{number}"
        try:
            yield place, parse_json(line)
        except TextError as error:
            advice = "write one flat object per line, as UTF-8"
            yield place, RecordError(f"{place}: {error}; {advice}")


@register_reader("json")
def read_json_list(file: Path) -> Iterator[Row]:
    """A list of records in one JSON text, which is read whole; other files are read as JSONL."""
    kind = TextFile(file, RecordError, "give a JSON list of records, or one object per line")
    # Files called .json often hold a line for each record.
    _, first = next(read_lines(kind), (0, ""))
    if not first.lstrip().startswith("["):
        yield from read_jsonl(file)
        return
    for number, values in enumerate(read_json(kind), 1):
        yield f"{file}: item {number}", values


@register_reader("tar")
def read_tar(file: Path) -> Iterator[Row]:
    """The samples of a WebDataset shard: `KEY.mp4` and `KEY.json`, whose paths are members.

    The JSON is a record, a row as of a table, or a list of such about the clip. Where it names no
    video, the clip beside it is meant.
    """
    table = Table()
    try:
        with Archive(file) as archive:
            names = dict.fromkeys(archive.names())
            for name in names:
                if name.endswith(".json"):
                    yield from _samples(archive, name, names, table)
    except MediaError as error:
        raise RecordError(str(error)) from error


def _samples(archive: Archive, name: str, names: Collection[str], table: Table) -> Iterator[Row]:
    """The samples of one JSON member."""
    place = f"{archive.path}: {name}"
    try:
        found = parse_json(archive.read(name, DOCUMENT_BYTES))
    except TextError as error:
        yield place, RecordError(f"{place}: {error}")
        return
    # Several questions about one clip make a list.
    samples = found if isinstance(found, list) else [found]
    for sample in samples:
        yield place, _sample(sample, name.removesuffix(".json"), names, archive.path, table)


def _sample(sample: Any, key: str, names: Collection[str], file: Path, table: Table) -> Any:
    """The values of one sample, its paths as members of the file."""
    if not isinstance(sample, dict):
        return sample  # refused with every other row that is no object
    clip = ""
    for ending in VIDEOS:
        if f"{key}.{ending}" in names:
            clip = f"{key}.{ending}"
            break
    # The sample's own words win: a key may name several clips.
    values = table.values({"id": key, "video": clip, **sample})
    # Members lie beside the JSON that names them.
    folder = posixpath.dirname(key)

    def inside(text: str) -> str:
        # By its whole name, or beside the JSON; a setting of an object is neither.
        for name in (text, posixpath.join(folder, text)):
            if name in names:
                return member_path(file, name)
        return text

    values["video"] = inside(values.get("video", ""))
    channels = values.get("channels", {})
    if isinstance(channels, dict):
        values["channels"] = _within(channels, inside)
    return values


def _within(media: Any, inside: Callable[[str], str]) -> Any:
    """A channel's media with the names of members as paths."""
    if isinstance(media, str):
        return inside(media)
    if isinstance(media, list):
        return [_within(item, inside) for item in media]
    if isinstance(media, dict):
        return {key: _within(item, inside) for key, item in media.items()}
    return media
