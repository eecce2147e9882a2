"""`compare_files`: the items files of two runs, brought together question by question."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.data import clip_key, read_records
from pave.errors import RecordError
from pave.metrics import check_draws
from pave.metrics.compare import Comparison, compare
from pave.tasks.files import read_json


@dataclass(frozen=True)
class CompareReport:
    """Two runs side by side.

    Attributes:
        rows: b minus a, for every score and label.
        shared: Questions in both.
        only_a: Questions that b lacks.
        only_b: Questions that a lacks.
        unit: What was resampled.
    """

    rows: list[Comparison]
    shared: int
    only_a: list[str]
    only_b: list[str]
    unit: str


def compare_files(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    records: str | os.PathLike[str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> CompareReport:
    """Compare two files of items (JSON lines with `id` and `scores`, or `correct`), or folders that hold one such file each.

    Raises:
        RecordError: If a file cannot be read, repeats a question, the two share nothing, or were
            scored in different styles.
        ConfigError: If the seed or the number of draws cannot be used.
    """
    check_draws(resamples, seed)
    first, second = _items(a), _items(b)
    styles = [
        {str(row["style"]) for row in arm.values() if "style" in row} for arm in (first, second)
    ]
    if all(styles) and styles[0] != styles[1]:
        said = " and ".join(
            f"{file} in style {', '.join(sorted(found))}"
            for file, found in zip((a, b), styles, strict=True)
        )
        raise RecordError(
            f"{said} were scored by different rules; score both with the same --style"
        )
    clusters, labels = _about(records) if records is not None else ({}, {})
    for row in first.values():
        if records is None and row.get("cluster"):
            clusters[row["id"]] = str(row["cluster"])
        labels.setdefault(row["id"], [str(label) for label in _labels(row)])
    scores = [{name: _scores(row) for name, row in arm.items()} for arm in (second, first)]
    try:
        rows = compare(scores[0], scores[1], clusters, labels, resamples=resamples, seed=seed)
    except ValueError as error:
        raise RecordError(
            f"{a} and {b}: {error}; give two items files of one set of questions"
        ) from error
    swapped = [_swap(row) for row in rows]
    unit = (
        "videos"
        if clusters
        else "single questions, since the files do not say which share a video (give --records)"
    )
    only = [
        [name for name in one if name not in other]
        for one, other in ((first, second), (second, first))
    ]
    return CompareReport(swapped, rows[0].n, only[0], only[1], unit)


def _swap(row: Comparison) -> Comparison:
    """`compare` takes the arm that is minuend first; here a is the first file, and the difference b - a."""
    return Comparison(
        row.score, row.label, row.n, row.clusters, row.b, row.a, row.difference, row.ci95, row.p
    )


def _items(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    content = read_json(_only_items(Path(path)))
    rows = content if isinstance(content, list) else []
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("id"), str | int)
            or not _scores(row)
        ):
            raise RecordError(
                f"{path}:{number}: an item needs `id` and `scores` (or `correct`); make the file "
                "with pave score --rows"
            )
        name = str(row["id"])
        if name in found:
            raise RecordError(
                f"{path}:{number}: question {name!r} is in there twice; compare the items of one "
                "arm at a time"
            )
        found[name] = {**row, "id": name}
    if not found:
        raise RecordError(f"{path} holds no items; make the file with pave score --rows")
    return found


def _only_items(path: Path) -> Path:
    """The items file that is meant: the one given, or the only one in a run's folder (shares of it do not count)."""
    if not path.is_dir():
        return path
    found = sorted(file for file in path.glob("*.jsonl") if ".part-" not in file.name)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise RecordError(
            f"{path} holds {len(found)} items files ({names}); name the one to compare"
        )
    return found[0]


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    given = row.get("scores")
    if isinstance(given, dict):
        return {
            str(name): float(value)
            for name, value in given.items()
            if isinstance(value, int | float) and _finite(value)
        }
    return {"accuracy": float(row["correct"])} if isinstance(row.get("correct"), bool) else {}


def _finite(value: float) -> bool:
    """Whether it can be averaged; JSON has NaN, infinity, and whole numbers beyond every float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _labels(row: Mapping[str, Any]) -> list[Any]:
    given = row.get("labels")
    return (
        given if isinstance(given, list) and given else [row["family"]] if row.get("family") else []
    )


def _about(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Video and labels of every record."""
    records = read_records(path, check_media=False)
    videos = {record.id: str(record.meta.get("video_id") or clip_key(record)) for record in records}
    return videos, {
        record.id: [str(label) for label in record.meta.get("labels", [])]
        for record in records
        if "labels" in record.meta
    }
