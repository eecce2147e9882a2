"""Items -> one report with intervals, and a row for each item: how every verb scores."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pave.data import Record
from pave.errors import ConfigError, RecordError
from pave.files import write_text_atomically
from pave.metrics import mean_bootstrap, wilson
from pave.tasks.items import prompt_of
from pave.tasks.registry import get_task
from pave.tasks.task import Item, Labels, Scored, Style, Task

Interval = tuple[float, float]


class LabelRow(BaseModel):
    """Mean scores of the items of one label: those of `ScoreReport.scores` that are means."""

    model_config = ConfigDict(frozen=True)

    label: str
    n: int
    scores: dict[str, float]


class ScoreReport(BaseModel):
    """Scores of one set of predictions. All are fractions; papers print them times 100."""

    model_config = ConfigDict(frozen=True)

    task: str
    style: str
    prompt: str = Field(
        description="Hash of the prompt that the records were made with; the task's own without "
        "records."
    )
    scored: int = Field(description="Items scored.")
    expected: int = Field(description="Items that the records or references hold.")
    published: int | None = Field(
        description="Items of the split that papers report, null where unknown."
    )
    missing: list[str] = Field(
        description="Items without a prediction; they are not in the scores."
    )
    unknown: list[str] = Field(description="Predictions that belong to no item.")
    scores: dict[str, float | None]
    table: list[str] = Field(description="The scores that papers print, in their order.")
    ci95: dict[str, Interval] = Field(
        description="Intervals of the scores that are means: over videos, or Wilson's for exact "
        "match."
    )
    labels: list[LabelRow]
    notes: dict[str, str]
    settings: dict[str, int | str]


@dataclass(frozen=True)
class Account:
    """How a set of items came together, for its report.

    Attributes:
        expected: Items that there should be; those that there are when None.
        missing: Items without a prediction.
        unknown: Predictions that belong to no item.
        prompt: Hash of the prompt that was asked; the task's own when None.
    """

    expected: int | None = None
    missing: Sequence[str] = ()
    unknown: Sequence[str] = ()
    prompt: str | None = None


def task_for(name: str, records: Sequence[Record]) -> Task:
    """The task that scores these records, checked before anything is asked.

    Raises:
        ConfigError: If there is no such task, or it is only trained on.
        RecordError: If the records were made for another task.
    """
    task = get_task(name)
    if task.score is None:
        raise ConfigError(
            f"{task.title} has no scores, because it is only for training; leave out --task to "
            "score by exact match"
        )
    # Called for what it refuses: records of another task.
    prompt_of(records, task)
    return task


def score_items(
    task: Task,
    items: Sequence[Item],
    style: Style = "default",
    account: Account | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[ScoreReport, list[dict[str, Any]]]:
    """Score items.

    Args:
        task: The benchmark.
        items: At least one.
        style: "authors" for the authors' scripts to the letter.
        account: How the items came together.
        resamples: Bootstrap draws of whole videos.
        seed: Seed of the draws.

    Returns:
        The report, and a row for each item: `id`, `cluster`, `labels`, `prediction`, `references`,
        what the task says of it, and its scores under `scores`.

    Raises:
        ConfigError: If the task is only trained on.
        RecordError: If there is nothing to score.
    """
    if task.score is None:
        raise ConfigError(f"{task.title} has no scores, because it is only for training")
    if not items:
        raise RecordError(
            "no prediction belongs to any of the questions; check that the files belong together"
        )
    account = account or Account()
    scored = task.score(items, style)
    report = ScoreReport(
        task=task.name,
        style=style,
        prompt=task.prompt.hash if account.prompt is None else account.prompt,
        scored=len(items),
        expected=len(items) if account.expected is None else account.expected,
        published=task.splits.get(task.tested_on),
        missing=list(account.missing),
        unknown=list(account.unknown),
        scores=dict(scored.scores),
        # METEOR is None without Java, and a column of nothing is no use to anyone.
        table=[name for name in scored.table if scored.scores.get(name) is not None],
        ci95=_intervals(task, items, scored, resamples, seed),
        labels=_label_rows(task, items, scored),
        notes=dict(scored.notes),
        settings={
            "resamples": resamples,
            "seed": seed,
            "clusters": len({item.cluster for item in items}),
        },
    )
    return report, _rows(items, scored, style)


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the rows as JSON lines, complete or not at all."""
    file = Path(path)
    text = ""
    for row in rows:
        text += json.dumps(row, ensure_ascii=False) + "\n"
    write_text_atomically(file, text)
    return file


def share_interval(share: float, n: int) -> Interval:
    """Wilson's interval of a share of right answers among `n`, each of them right or wrong."""
    return wilson(round(share * n), n)


def _intervals(
    task: Task, items: Sequence[Item], scored: Scored, resamples: int, seed: int
) -> dict[str, Interval]:
    """Score -> its interval, of the scores that are means over the items."""
    found = {}
    clusters = [item.cluster for item in items]  # [items]
    for name, values in scored.columns.items():  # [items] each
        # Right or wrong: Wilson's has a width also where all are right; a bootstrap has none.
        if task.judge is not None:
            found[name] = share_interval(sum(values) / len(values), len(values))
            continue
        interval = mean_bootstrap(values, clusters, resamples=resamples, seed=seed)
        if interval is not None:  # there is more than one video
            found[name] = interval
    return found


def _rows(items: Sequence[Item], scored: Scored, style: Style) -> list[dict[str, Any]]:
    """One row an item, for `pave compare` and for readers who want to know why."""
    rows = []
    for place, (item, detail) in enumerate(zip(items, scored.details, strict=True)):
        row = {
            "id": item.id,
            "cluster": item.cluster,
            "labels": list(item.labels),
            "style": style,  # `pave compare` refuses to subtract across styles
            "prediction": item.prediction,
            "references": list(item.references),
            **detail,
        }
        row["scores"] = {name: values[place] for name, values in scored.columns.items()}
        rows.append(row)
    return rows


def _label_rows(task: Task, items: Sequence[Item], scored: Scored) -> list[LabelRow]:
    """One row a label, in the order of the table."""
    places: dict[str, list[int]] = {}
    labels = []
    for place, item in enumerate(items):
        labels.append(item.labels)
        for label in item.labels:
            places.setdefault(label, []).append(place)
    rows = []
    for label in label_order(labels, nested=task.nested):
        own = places[label]
        means = {}
        for name, values in scored.columns.items():
            means[name] = sum(values[place] for place in own) / len(own)
        rows.append(LabelRow(label=label, n=len(own), scores=means))
    return rows


def label_order(labels: Sequence[Labels], *, nested: bool = False) -> list[str]:
    """The order in which a table lists labels: of first appearance, the widest before their parts.

    Args:
        labels: The labels of each item.
        nested: List the parts of a label right below it, instead of all first labels first. Items
            with one label come last then: they say of no wider one that they belong to it.

    Example:
        >>> items = [("Audio", "Counting"), ("Visual", "Where"), ("Audio", "When")]
        >>> label_order(items)
        ['Audio', 'Visual', 'Counting', 'Where', 'When']
        >>> label_order(items, nested=True)
        ['Audio', 'Counting', 'When', 'Visual', 'Where']
    """
    # The place of a label among those of an item is its depth: 0 for the widest.
    first: dict[str, int] = {}
    for own in labels:
        for depth, label in enumerate(own):
            first[label] = min(depth, first.get(label, depth))
    if not nested:
        return sorted(first, key=first.__getitem__)  # stable: within a depth as they came
    parts: dict[str, dict[str, None]] = {}
    for own in labels:
        if len(own) > 1:
            parts.setdefault(own[0], {}).update(dict.fromkeys(own[1:]))
    order: dict[str, None] = {}
    for label, below in parts.items():
        order[label] = None
        order.update(dict.fromkeys(below))
    return list(order | dict.fromkeys(first))
