"""`score_files`: a file of predictions, scored against records or the authors' references."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pave.arguments import as_kind
from pave.data import read_records
from pave.errors import ConfigError, RecordError
from pave.metrics import check_draws
from pave.tasks import Item, Prediction, Style, Task
from pave.tasks.files import read_json, read_predictions
from pave.tasks.items import items_of, prompt_of
from pave.tasks.pairing import in_format
from pave.tasks.score import Account, ScoreReport, score_items

Place = str | os.PathLike[str]


def score_files(
    task: Task,
    predictions: Place,
    *,
    records: Place | None = None,
    references: Place | None = None,
    style: Style = "default",
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[ScoreReport, list[dict[str, Any]]]:
    """Score a predictions file.

    Args:
        task: The benchmark.
        predictions: pave's own (`id`, `prediction`) or the authors'.
        records: The records that were asked; media need not be there.
        references: Instead, the reference file of the authors' script.
        style: "authors" for their scripts to the letter.
        resamples: Bootstrap draws.
        seed: Their seed.

    Returns:
        The report and a row for each item, see `pave.tasks.score.score_items`.

    Raises:
        ConfigError: If the task or style is none, there is nothing to score against, the task has
            no reference format, or `check_draws` refuses.
        RecordError: If the files cannot be read or do not go together.

    Example:
        >>> task = get_task("avqa")                                              # doctest: +SKIP
        >>> report, rows = score_files(task, "pred.jsonl", records="val.jsonl")  # doctest: +SKIP
        >>> report.scores["accuracy"]                                            # doctest: +SKIP
        0.904
    """
    check_draws(resamples, seed)
    as_kind(task, Task, "a benchmark is a task of pave.tasks")
    if not isinstance(style, str) or style not in get_args(Style):
        raise ConfigError(f"style must be default or authors, got {ascii(style)[:80]}")
    found = read_predictions(predictions)
    if records is not None:
        items, account = _beside_records(task, found, records)
    else:
        items, account = _beside_references(task, found, Path(predictions), references)
    return score_items(task, items, style, account, resamples=resamples, seed=seed)


def _beside_records(
    task: Task, predictions: Sequence[Prediction], path: Place
) -> tuple[list[Item], Account]:
    """Predictions beside the records of the same names.

    Raises:
        RecordError: If two predictions have one name, or a record has no answer to be scored
            against.
    """
    records = read_records(path, check_media=False)
    texts: dict[str, str] = {}
    for prediction in predictions:
        # Of two, nobody could say which one is meant.
        if prediction.id in texts:
            raise RecordError(f"two predictions for {prediction.id!r}; give one per record")
        texts[prediction.id] = prediction.text
    # A set that keeps its order.
    names = dict.fromkeys(record.id for record in records)
    account = Account(
        expected=len(records),
        missing=[name for name in names if name not in texts],
        unknown=[name for name in texts if name not in names],
        prompt=prompt_of(records, task),
    )
    return items_of(task, records, texts), account


def _beside_references(
    task: Task, predictions: Sequence[Prediction], file: Path, references: Place | None
) -> tuple[list[Item], Account]:
    """Predictions beside the authors' reference file, paired as their script does.

    Raises:
        ConfigError: If the task has no such format, or the file is needed and was not given.
        RecordError: If the files are not in their format.
    """
    if task.pair is None:
        raise ConfigError(f"{task.title} is scored against records only; give --records")
    if references is None and not task.self_contained:
        raise ConfigError(
            f"give --records, or --references with the authors' reference file of {task.title}"
        )
    wanted = None if references is None else read_json(references)
    what = "the authors' reference file and predictions that were made with it"
    with in_format(str(references or file), task.title, what):
        items = task.pair(predictions, wanted)
    # Other formats than a list pair by name, and whoever has no prediction is not asked for.
    expected = len(wanted) if isinstance(wanted, list) else len(items)
    return items, Account(expected, prompt=f"unknown (no records for {file.name})")
