"""Scores of a task: every arm's answers scored as the benchmark does, and the paired differences between arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pave.data import Record
from pave.errors import ConfigError
from pave.evaluate.items import Answer, Item
from pave.metrics.compare import compare
from pave.tasks import Style, Task, get_task
from pave.tasks.report import ScoreReport, item_of, prompt_of, score_items, write_rows

ALL = "all"
Values = dict[str, float | None]


class ScoreGap(BaseModel):
    """score(a) - score(b) on the same questions, for scores that are means over questions; fractions."""

    model_config = ConfigDict(frozen=True)

    score: str
    label: str = Field(description='"all", or a row of the score table.')
    a: str
    b: str
    difference: float
    ci95: tuple[float, float] | None = Field(
        description="Bootstrap interval over videos; null for a single video."
    )
    p: float = Field(description="Permutation test over videos, two-sided.")


class TaskScores(BaseModel):
    """An evaluation by a task's own metric."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    style: str = Field("default", description="How the answers were scored.")
    split: str = Field(description="Split of the records, empty where they do not say.")
    prompt: str = Field(
        description="Hash of the prompt that was asked; results of other prompts cannot be "
        "compared."
    )
    scored: int = Field(description="Items scored, of each arm.")
    records: int = Field(description="Items in the records file.")
    expected: int | None = Field(
        description="Items that the split should have; null where nobody has counted."
    )
    arms: dict[str, ScoreReport] = Field(description="Every arm's scores.")
    gaps: list[ScoreGap] = Field(description="Differences of later arms to earlier ones.")

    def gap(self, score: str, label: str, a: str, b: str) -> ScoreGap | None:
        """One difference; None where the score is no mean over questions."""
        wanted = (score, label, a, b)
        return next(
            (row for row in self.gaps if (row.score, row.label, row.a, row.b) == wanted), None
        )

    def counts(self) -> str:
        """How many items were scored, of how many, in words."""
        split = f"split {self.split}" if self.split else "the split"
        published = (
            f"{split} has {self.expected:,}"
            if self.expected
            else f"the published size of {split} is not known"
        )
        return f"{self.scored:,} of {self.records:,} items scored; {published}"

    def how(self) -> str:
        """What was asked and how it was scored, in words."""
        return f"Style {self.style}, prompt {self.prompt}"


def task_of(name: str | None, records: Sequence[Record]) -> Task | None:
    """The task that scores these records, checked before anything is asked.

    Raises:
        ConfigError: If there is no such task, or it is only trained on.
        RecordError: If the records were made for another task.
    """
    if name is None:
        return None
    task = get_task(name)
    if task.score is None:
        raise ConfigError(
            f"{task.title} is only trained on, nothing says how to score it; leave --task out for "
            "exact match"
        )
    prompt_of(records, task)
    return task


def score_arms(
    task: Task,
    records: Sequence[Record],
    items: Sequence[Item],
    arms: Sequence[str],
    answers: Mapping[tuple[str, str], Answer],
    out: Path,
    *,
    style: Style = "default",
    resamples: int,
    seed: int,
) -> TaskScores:
    """Score every arm, and write a row for each item into `out`/items/<arm>.jsonl, ready for `pave compare`.

    Args:
        task: The task.
        records: All records of the file.
        items: Those that were asked.
        arms: Arms in order, reference arms first.
        answers: What they said.
        out: Folder of the results.
        style: "authors" for the authors' scripts to the letter.
        resamples: Draws of whole videos.
        seed: Their seed.
    """
    prompt = prompt_of(records, task)
    reports, rows, asked = {}, {}, {item.id for item in items}
    for arm in arms:
        # In the order of the file, as pave score has them: a bootstrap draws by place.
        said = [
            item_of(record, answers[arm, record.id].prediction)
            for record in records
            if record.id in asked
        ]
        about: dict[str, Any] = {"prompt": prompt, "expected": len(records)}
        reports[arm], rows[arm] = score_items(
            task, said, style, resamples=resamples, seed=seed, **about
        )
        write_rows(out / "items" / f"{arm}.jsonl", rows[arm])
    splits = {str(record.meta.get("split", "")) for record in records}
    split = splits.pop() if len(splits) == 1 else ""
    return TaskScores(
        name=task.name,
        title=task.title,
        style=style,
        split=split,
        prompt=prompt,
        scored=len(items),
        records=len(records),
        expected=task.splits.get(split),
        arms=reports,
        gaps=_gaps(rows, resamples, seed),
    )


def _gaps(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], resamples: int, seed: int
) -> list[ScoreGap]:
    """Each later arm minus each earlier one, of every score that is a mean."""
    gaps = []
    for b, a in combinations(rows, 2):
        ours, theirs = ({row["id"]: row["scores"] for row in rows[arm]} for arm in (a, b))
        videos = {row["id"]: row["cluster"] for row in rows[a]}
        labels = {row["id"]: row["labels"] for row in rows[a]}
        found = compare(ours, theirs, videos, labels, resamples=resamples, seed=seed)
        gaps += [
            ScoreGap(
                score=row.score,
                label=row.label,
                a=a,
                b=b,
                difference=row.difference,
                ci95=row.ci95,
                p=row.p,
            )
            for row in found
        ]
    return gaps


def score_table(task: TaskScores) -> tuple[list[str], list[list[str]]]:
    """Header and cells, times 100: a row a score and label, a column an arm, then the last arm's differences."""
    arms = list(task.arms)
    last, others = arms[-1], arms[:-1]
    header = ["questions", "score", "n", *arms, *(f"{last} - {other}" for other in others)]
    rows = []
    for label, score, n, values in score_rows(task):
        cells = [
            _share(value, task.arms[arm].ci95.get(score) if label == ALL else None)
            for arm, value in values.items()
        ]
        gaps = [_gap(task.gap(score, label, last, other)) for other in others]
        rows.append(["all questions" if label == ALL else label, score, str(n), *cells, *gaps])
    return header, rows


def score_rows(task: TaskScores) -> list[tuple[str, str, int, Values]]:
    """(label, score, questions, value of each arm): the scores that papers print, then those of each label."""
    first = next(iter(task.arms.values()))
    rows: list[tuple[str, str, int, Values]] = []
    for score in first.table:
        totals: Values = {arm: report.scores[score] for arm, report in task.arms.items()}
        rows.append((ALL, score, first.scored, totals))
    for place, row in enumerate(first.labels):
        label = f"{ALL} (label)" if row.label == ALL else row.label
        for score in row.scores:
            by_arm: Values = {
                arm: report.labels[place].scores[score] for arm, report in task.arms.items()
            }
            rows.append((label, score, row.n, by_arm))
    return rows


def _share(value: float | None, ends: tuple[float, float] | None) -> str:
    if value is None:
        return "n/a"
    return f"{100 * value:.1f}" + (f" ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})" if ends else "")


def _gap(row: ScoreGap | None) -> str:
    if row is None:
        return ""
    return f"{100 * row.difference:+.1f}" + (
        f" ({100 * row.ci95[0]:+.1f} to {100 * row.ci95[1]:+.1f})" if row.ci95 else ""
    )
