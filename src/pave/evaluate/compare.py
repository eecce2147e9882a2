"""`compare_files`: the items files of two runs, brought together question by question."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.data import read_records
from pave.errors import RecordError
from pave.files import as_path, entries_of
from pave.metrics import check_draws
from pave.tasks.compare import Comparison, compare
from pave.tasks.files import read_json
from pave.tasks.items import cluster_of
from pave.tasks.task import record_labels

Place = str | os.PathLike[str]
Rows = dict[str, dict[str, Any]]
"""Question -> its row of an items file."""


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
    a: Place,
    b: Place,
    *,
    records: Place | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> CompareReport:
    """Compare two files of items, or folders that hold one such file each.

    A file is JSON lines with `id` and `scores`, or `id` and `correct`.

    Args:
        a: Items of the first arm.
        b: Items of the second; differences are second minus first.
        records: The records that were asked, to know which questions share a video where the files
            do not say.
        resamples: Draws of the bootstrap and of the permutation test.
        seed: Their seed.

    Raises:
        RecordError: If a file cannot be read, repeats a question, the two share nothing, or were
            scored in different styles.
        ConfigError: If the seed or the number of draws cannot be used.
    """
    check_draws(resamples, seed)
    first, second = _read_items(a), _read_items(b)
    _check_styles((a, b), (first, second))
    clusters, labels = _clusters_and_labels(first, records)
    ours, theirs = _all_scores(second), _all_scores(first)  # b minus a
    try:
        found = compare(ours, theirs, clusters, labels, resamples=resamples, seed=seed)
    except ValueError as error:
        raise RecordError(
            f"{a} and {b}: {error}; give two items files of one set of questions"
        ) from error
    unit = "videos"
    if not clusters:
        unit = (
            "single questions, because the files do not say which of them share a video "
            "(--records does)"
        )
    return CompareReport(
        rows=list(map(_swapped, found)),
        shared=found[0].n,  # the first row pools all questions
        only_a=_only(first, second),
        only_b=_only(second, first),
        unit=unit,
    )


def _only(rows: Rows, others: Rows) -> list[str]:
    """The questions that one arm has and the other lacks."""
    return [name for name in rows if name not in others]


def _swapped(row: Comparison) -> Comparison:
    """`compare` takes the minuend first; here a is the first file, and the difference b - a."""
    changed = vars(row) | {"a": row.b, "b": row.a}
    return Comparison(**changed)


def _check_styles(files: Sequence[Place], arms: Sequence[Rows]) -> None:
    """Scores of two styles cannot be subtracted.

    Raises:
        RecordError: If both files say how they were scored, and not alike.
    """
    first, second = map(_styles, arms)
    # A file that does not say may be of either style.
    if not first or not second or first == second:
        return
    raise RecordError(
        f"{files[0]} in style {', '.join(sorted(first))} and {files[1]} in style "
        f"{', '.join(sorted(second))} were scored by different rules; score both with the same "
        "--style"
    )


def _styles(rows: Rows) -> set[str]:
    """The styles that the rows of a file say; an evaluation by exact match says none."""
    styles = set()
    for row in rows.values():
        if "style" in row:
            styles.add(str(row["style"]))
    return styles


def _clusters_and_labels(
    rows: Rows, path: Place | None
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Video and labels of every question: from the records where they are given, else the rows."""
    clusters: dict[str, str] = {}
    labels: dict[str, list[str]] = {}
    if path is not None:
        for record in read_records(path, check_media=False):
            clusters[record.id] = cluster_of(record)
            if "labels" in record.meta:
                labels[record.id] = list(record_labels(record))
    for name, row in rows.items():
        # Records know better: a row of `pave eval` does not say its video.
        if path is None and row.get("cluster"):
            clusters[name] = str(row["cluster"])
        labels.setdefault(name, labels_of(row))
    return clusters, labels


def _read_items(path: Place) -> Rows:
    """The rows of a file, by question.

    Raises:
        RecordError: If it holds none, a row cannot be compared, or a question is in there twice.
    """
    path = as_path(path, RecordError, "a file of items")
    content = read_json(_only_items(path))
    # Anything but a list ends below, as a file without items.
    rows = content if isinstance(content, list) else []
    found: Rows = {}
    for number, row in enumerate(rows, 1):
        if not _is_item(row):
            raise RecordError(
                f"{path}:{number}: an item needs `id` and `scores` (or `correct`); make the file "
                "with pave score --rows"
            )
        name = str(row["id"])  # some benchmarks number their questions
        if name in found:
            raise RecordError(
                f"{path}:{number}: question {name!r} occurs twice; compare the items of one arm "
                "at a time"
            )
        found[name] = row
    if not found:
        raise RecordError(f"{path} holds no items; make the file with pave score --rows")
    return found


def _is_item(row: Any) -> bool:
    """Whether a row names its question and has a score that can be averaged."""
    return isinstance(row, dict) and isinstance(row.get("id"), str | int) and bool(scores_of(row))


def _only_items(path: Path) -> Path:
    """The items file that is meant: the one given, or the only one in a run's folder."""
    if not path.is_dir():
        return path
    # Shares of an evaluation lie beside the whole that was made of them.
    found = [file for file in entries_of(path, "*.jsonl") if ".part-" not in file.name]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise RecordError(
            f"{path} must hold one file of items, but has {names}; name the one to compare"
        )
    return found[0]


def _all_scores(rows: Rows) -> dict[str, dict[str, float]]:
    """Question -> its scores."""
    return {name: scores_of(row) for name, row in rows.items()}


def scores_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a row: those of `pave score`, or what `pave eval` says of an exact match."""
    given = row.get("scores")
    if not isinstance(given, dict):
        # A line of `<arm>.jsonl`: null there means that a benchmark scores all of them together.
        correct = row.get("correct")
        if not isinstance(correct, bool):
            return {}
        return {"accuracy": float(correct)}
    found = {}
    for name, value in given.items():
        if isinstance(value, int | float) and _is_finite(value):
            # True and false are numbers as well.
            found[str(name)] = float(value)
    return found


def _is_finite(value: float) -> bool:
    """Whether it can be averaged: JSON has NaN, infinity, and whole numbers beyond every float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def labels_of(row: Mapping[str, Any]) -> list[str]:
    """The labels of a row; the family where an evaluation wrote it."""
    given = row.get("labels")
    if isinstance(given, list) and given:
        return list(map(str, given))
    family = row.get("family")
    if not family:
        return []
    return [str(family)]
