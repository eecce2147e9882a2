"""Readers of Parquet files (extra `parquet`) and of datasets (extra `datasets`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pave.data.rows import Table
from pave.data.sources import NAMED, Row, is_named, register_reader
from pave.errors import ConfigError, RecordError
from pave.files import regular_file
from pave.version import install_extra

_ROWS = 1024  # that are in memory at once


@register_reader("parquet")
def read_parquet(file: Path) -> Iterator[Row]:
    """A record a row: columns as of any table, or those of a record."""
    regular_file(file, RecordError, "a Parquet file")
    arrow, parquet = _needed("pyarrow", "parquet"), _needed("pyarrow.parquet", "parquet")
    table = Table()
    number = 0
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield f"{file}: row {number}", table.values(values)
    except (arrow.ArrowException, OSError) as error:
        words = " ".join(str(error).split())
        raise RecordError(
            f"{file}: cannot be read as Parquet ({words}); check that the file is complete"
        ) from error


@register_reader("datasets")
def read_dataset(place: Path) -> Iterator[Row]:
    """The rows of a dataset: a folder that `save_to_disk` wrote, or `datasets:NAME:SPLIT`."""
    library = _needed("datasets", "datasets")
    name = os.fspath(place)
    try:
        if is_named(name):
            # Without a split there would be a dictionary of all.
            name, _, split = name.removeprefix(NAMED).partition(":")
            found = library.load_dataset(name, split=split or "train")
        else:
            found = library.load_from_disk(name)
    except Exception as error:  # of many kinds, from the network to the disk
        words = " ".join(str(error).split())
        raise RecordError(
            f"{place}: `datasets` cannot load it ({words}); check the name"
        ) from error
    if isinstance(found, Mapping):
        splits = ", ".join(found)
        raise RecordError(
            f"{place}: holds several splits ({splits}); give the folder of one of them"
        )
    table = Table()
    for number, row in enumerate(undecoded(found), 1):
        yield f"{place}: row {number}", _row(row, table)


def undecoded(dataset: Any) -> Any:
    """A dataset whose videos and sounds stay paths: we decode them, and only what is needed."""
    for name, feature in (dataset.features or {}).items():
        # `Video`, `Audio` and `Image` have it.
        if hasattr(feature, "decode"):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


def _row(row: Mapping[str, Any], table: Table) -> Any:
    """The values of a row, or why it has none."""
    cells = {}
    for name, value in row.items():
        try:
            cells[name] = _path_of(value)
        except RecordError as error:
            return RecordError(f"{name}: {error}")
    return table.values(cells)


def _path_of(value: Any) -> Any:
    """The path of an undecoded video or sound; any other value as it is."""
    if isinstance(value, Mapping) and set(value) == {"bytes", "path"}:
        if value["path"] is None or not os.path.exists(value["path"]):
            raise RecordError(
                "a video or sound is stored inside the data set; write it to a file, and put "
                "the path into the column"
            )
        return value["path"]
    return value


def _needed(module: str, extra: str) -> Any:
    """A module of an extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"reading these records needs {module} ({error}): {install_extra(extra)}"
        ) from error
