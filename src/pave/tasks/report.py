"""`score`: items -> one report with intervals, and a row for each item."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pave.data import Record, clip_key
from pave.errors import ConfigError, RecordError
from pave.files import write_text_atomically
from pave.metrics import mean_bootstrap
from pave.tasks.task import Item, Prediction, Scored, Style, Task


class LabelRow(BaseModel):
    """Mean scores of the items of one label; the names are those of `ScoreReport.scores` that are means."""

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
    ci95: dict[str, tuple[float, float]] = Field(
        description="Bootstrap intervals over videos, of the scores that are means."
    )
    labels: list[LabelRow]
    notes: dict[str, str]
    settings: dict[str, int | str]


def items_of(
    records: Sequence[Record], predictions: Sequence[Prediction]
) -> tuple[list[Item], list[str], list[str]]:
    """Predictions beside records, by name.

    Returns:
        The items that have a prediction, the names of records without one, and the names of
        predictions without a record.

    Raises:
        RecordError: If two predictions have one name, or a record has no answer to be scored
            against.
    """
    by_id: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.id in by_id:
            raise RecordError(f"two predictions for {prediction.id!r}; give one per record")
        by_id[prediction.id] = prediction
    items = [item_of(record, by_id[record.id].text) for record in records if record.id in by_id]
    known = {record.id for record in records}
    return (
        items,
        [r.id for r in records if r.id not in by_id],
        [name for name in by_id if name not in known],
    )


def item_of(record: Record, prediction: str) -> Item:
    """One answer to one record.

    Raises:
        RecordError: If the record has no accepted answer.
    """
    last = record.turns[-1].answer
    references = tuple(record.answers) or ((last,) if last else ())
    if not references:
        raise RecordError(
            f"record {record.id!r} has no accepted answer to score against; give it `answers`"
        )
    cluster = str(record.meta.get("video_id") or clip_key(record))
    labels = tuple(map(str, record.meta.get("labels", ())))
    return Item(record.id, cluster, prediction, references, tuple(record.options), labels)


def score_items(
    task: Task,
    items: Sequence[Item],
    style: Style = "default",
    *,
    resamples: int = 10_000,
    seed: int = 0,
    **about: Any,
) -> tuple[ScoreReport, list[dict[str, Any]]]:
    """Score items.

    Args:
        task: The benchmark.
        items: At least one.
        style: "authors" for the authors' scripts to the letter.
        resamples: Bootstrap draws of whole videos.
        seed: Seed of the draws.
        about: `expected`, `missing`, `unknown` and `prompt` of the report, where they are known.

    Returns:
        The report, and a row for each item: `id`, `cluster`, `labels`, `prediction`, `references`,
        what the task says of it, and its scores under `scores`.

    Raises:
        ConfigError: If the task is only trained on.
        RecordError: If there is nothing to score.
    """
    if task.score is None:
        raise ConfigError(f"{task.title} is only trained on; there is nothing to score")
    if not items:
        raise RecordError(
            "no prediction belongs to any of the questions; check that the files go together"
        )
    scored = task.score(items, style)
    clusters = [item.cluster for item in items]
    intervals = {
        name: mean_bootstrap(values, clusters, resamples=resamples, seed=seed)
        for name, values in scored.columns.items()
    }
    report = ScoreReport(
        task=task.name,
        style=style,
        published=task.splits.get(task.tested_on),
        scored=len(items),
        scores=dict(scored.scores),
        table=[name for name in scored.table if scored.scores.get(name) is not None],
        ci95={name: ends for name, ends in intervals.items() if ends[1] != float("inf")},
        labels=_label_rows(items, scored),
        notes=dict(scored.notes),
        settings={"resamples": resamples, "seed": seed, "clusters": len(set(clusters))},
        **{
            "expected": len(items),
            "missing": [],
            "unknown": [],
            "prompt": task.prompt.hash,
            **about,
        },
    )
    return report, _rows(items, scored, style)


def prompt_of(records: Sequence[Record], task: Task) -> str:
    """The prompt hash that the records carry.

    Raises:
        RecordError: If they were made for another task.
    """
    others = {str(record.meta["task"]) for record in records if "task" in record.meta} - {task.name}
    if others:
        raise RecordError(
            f"the records were made for {', '.join(sorted(others))}, not for {task.name}"
        )
    return (
        ", ".join(
            sorted({str(record.meta["prompt"]) for record in records if "prompt" in record.meta})
        )
        or "unknown"
    )


def write_rows(path: str | os.PathLike[str], rows: Sequence[dict[str, Any]]) -> Path:
    """Write the rows as JSON lines, atomically."""
    file = Path(path)
    write_text_atomically(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def _rows(items: Sequence[Item], scored: Scored, style: Style) -> list[dict[str, Any]]:
    rows = []
    for place, (item, detail) in enumerate(zip(items, scored.details, strict=True)):
        head = {"id": item.id, "cluster": item.cluster, "labels": list(item.labels), "style": style}
        said = {"prediction": item.prediction, "references": list(item.references)}
        rows.append(
            {
                **head,
                **said,
                **detail,
                "scores": {name: values[place] for name, values in scored.columns.items()},
            }
        )
    return rows


def _label_rows(items: Sequence[Item], scored: Scored) -> list[LabelRow]:
    """One row a label, in order of first appearance, but those of fewer words first: "Audio" before "Audio Counting"."""
    members: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        for label in item.labels:
            members.setdefault(label, []).append(place)
    depth = {
        label: min(item.labels.index(label) for item in items if label in item.labels)
        for label in members
    }
    return [
        LabelRow(
            label=label,
            n=len(places),
            scores={
                name: sum(values[place] for place in places) / len(places)
                for name, values in scored.columns.items()
            },
        )
        for label, places in sorted(members.items(), key=lambda pair: depth[pair[0]])
    ]
