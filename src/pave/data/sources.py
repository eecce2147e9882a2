r"""Where records come from: a reader for every kind of file, by the ending of its name.

A reader is a function from a path to rows. Pave's own take JSONL, JSON, CSV, Parquet, and tar files
in the way of WebDataset; a folder is a dataset that `datasets` saved, or holds such tar files, and
`datasets:NAME:SPLIT` is one that `datasets` finds. A program or a package adds its own:

    @register_reader("tsvx")
    def rows(file: Path) -> Iterator[Row]:
        for number, line in enumerate(file.open(), 1):
            video, question, answer = line.rstrip().split("\t")
            turn = {"question": question, "answer": answer}
            yield f"{file}:{number}", {"id": str(number), "video": video, "turns": [turn]}

A package announces it under the entry point group `pave.readers`, named like the ending.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pave.errors import ConfigError, RecordError
from pave.files import entries_of
from pave.registry import Registry, registering

Row: TypeAlias = tuple[str, Any]
"""Where a row stands, such as `train.csv:3`; and its values, or the `RecordError` it is."""
Reader: TypeAlias = Callable[[Path], Iterator[Row]]
Source: TypeAlias = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""What records are read from: a path, `datasets:NAME:SPLIT`, or rows such as a `Dataset`."""

NAMED = "datasets:"
"""How the name of a dataset begins."""
_FILES, _ROWS = "pave.data.readers", "pave.data.rows"
_ARROW = "pave.data.arrow"

READERS: Registry[Reader] = Registry(
    "reader of records",
    "pave.readers",
    {
        "jsonl": _FILES,
        "json": _FILES,
        "tar": _FILES,
        "csv": _ROWS,
        "tsv": _ROWS,
        "parquet": _ARROW,
        "datasets": _ARROW,
    },
    ConfigError,
)


def register_reader(ending: str) -> Callable[[Reader], Reader]:
    """Read records from files whose names end in `.ending` with the decorated function."""
    return registering(READERS, ending)


def rows_of(source: Source) -> Iterator[Row]:
    """The rows of a source, one at a time.

    Args:
        source: A path, the name of a dataset, or rows.

    Raises:
        RecordError: If the source itself cannot be read; one row that cannot be is such an error.
        ConfigError: If its reader needs a package that is not installed.
    """
    if isinstance(source, str | os.PathLike):
        yield from reader_of(source)(Path(source))
        return
    from pave.data.rows import Table

    if not isinstance(source, Iterable):
        raise RecordError(f"records are a path, or rows, got {type(source).__name__}")
    table = Table()
    for number, row in enumerate(source, 1):
        if not isinstance(row, Mapping):
            raise RecordError(f"row {number}: a row is a mapping, got {type(row).__name__}")
        yield f"row {number}", table.values(row)


def reader_of(path: str | os.PathLike[str]) -> Reader:
    """What reads a path; whatever has no known ending is read as JSONL."""
    if is_named(path):
        return READERS.get("datasets")
    if os.path.isdir(path):
        return _folder_reader(Path(path))
    # In small letters, as Windows and cameras write them in capitals.
    ending = Path(path).suffix.removeprefix(".").lower()
    if ending in READERS.names():
        return READERS.get(ending)
    return READERS.get("jsonl")


def is_jsonl(path: str | os.PathLike[str]) -> bool:
    """Whether a path is read as JSONL."""
    return reader_of(path) is READERS.get("jsonl")


def is_named(path: str | os.PathLike[str]) -> bool:
    """Whether it is the name of a dataset and no path."""
    return os.fspath(path).startswith(NAMED)


def folder_of(source: Source) -> str | None:
    """The folder that the paths in records are relative to; None where there is none."""
    if not isinstance(source, str | os.PathLike) or is_named(source):
        return None
    if os.path.isdir(source):
        return os.path.abspath(source)
    return os.path.dirname(os.path.abspath(source))


def title_of(source: Source) -> str:
    """What a source is called in messages."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return "the rows"


def _folder_reader(folder: Path) -> Reader:
    """What reads a folder: all its tar files, or a saved dataset."""
    # Shards first: a folder of them may well lie beside other files.
    if entries_of(folder, "*.tar"):
        return _all_tars
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        return READERS.get("datasets")
    raise RecordError(
        f"{folder}: is a folder without tar files or a data set saved by `datasets`; give a file "
        "of records"
    )


def _all_tars(folder: Path) -> Iterator[Row]:
    """The shards of a folder, in the order of their names."""
    read = READERS.get("tar")
    for file in entries_of(folder, "*.tar"):
        yield from read(file)
