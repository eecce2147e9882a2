"""`score_files`: predictions and what to score them against, from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pave.data import read_records
from pave.errors import ConfigError
from pave.metrics import check_draws
from pave.tasks.files import read_json, read_predictions
from pave.tasks.pairing import in_format
from pave.tasks.report import ScoreReport, items_of, prompt_of, score_items
from pave.tasks.task import Style, Task

_SELF_CONTAINED = ("avqa", "ego-exo4d")


def score_files(
    task: Task,
    predictions: str | os.PathLike[str],
    *,
    records: str | os.PathLike[str] | None = None,
    references: str | os.PathLike[str] | None = None,
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
        The report and a row for each item, see `pave.tasks.report.score_items`.

    Raises:
        ConfigError: If there is nothing to score against, the task has no reference format, or
            `check_draws` refuses.
        RecordError: If the files cannot be read or do not go together.

    Example:
        >>> report, rows = score_files(get_task("avqa"), "pred.jsonl", records="val.jsonl")  # doctest: +SKIP
        >>> report.scores["accuracy"]                                                        # doctest: +SKIP
        0.904
    """
    check_draws(resamples, seed)
    said = read_predictions(predictions)
    settings: dict[str, Any] = {"resamples": resamples, "seed": seed}
    if records is not None:
        asked = read_records(records, check_media=False)
        items, missing, unknown = items_of(asked, said)
        about: dict[str, Any] = {
            "expected": len(asked),
            "missing": missing,
            "unknown": unknown,
            "prompt": prompt_of(asked, task),
        }
        return score_items(task, items, style, **settings, **about)
    if task.pair is None:
        raise ConfigError(f"{task.title} is scored against records only; give --records")
    if references is None and task.name not in _SELF_CONTAINED:
        raise ConfigError(
            f"give --records, or --references with the authors' reference file of {task.title}"
        )
    wanted = read_json(references) if references is not None else None
    with in_format(
        str(references or predictions),
        task.title,
        "the authors' reference file, and predictions made with it",
    ):
        items = task.pair(said, wanted)
    expected = len(wanted) if isinstance(wanted, list) else len(items)
    return score_items(
        task,
        items,
        style,
        **settings,
        expected=expected,
        prompt=f"unknown (no records for {Path(predictions).name})",
    )
