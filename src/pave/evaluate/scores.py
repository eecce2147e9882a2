"""The numbers of an evaluation: the scores of each arm, and how arms differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pave.data import Record
from pave.tasks import EXACT, Item, Style, Task
from pave.tasks.compare import ALL, compare
from pave.tasks.items import prompt_of
from pave.tasks.score import Account, Interval, ScoreReport, score_items, share_interval
from pave.texts import counted

ItemRows = list[dict[str, Any]]


class ScoreGap(BaseModel):
    """score(a) - score(b) on the same questions, for scores that are means; fractions."""

    model_config = ConfigDict(frozen=True)

    score: str
    label: str = Field(description='"all", or a row of the score table.')
    a: str
    b: str
    difference: float
    ci95: Interval | None = Field(
        description="Interval over videos. If there is none (fewer than six videos, or all "
        "alike), it is null, or for exact match the widest possible."
    )
    clusters: int | None = Field(
        None, description="Videos that were asked about; null in results of an older pave."
    )
    p: float | None = Field(
        description="Permutation test over videos, two-sided; null in results of an older pave."
    )


class TaskScores(BaseModel):
    """An evaluation by a task's own metric."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    style: str = Field("default", description="How the answers were scored.")
    split: str = Field(description="Split of the records, empty where they do not say.")
    prompt: str = Field(
        description="Hash of the prompt; results with different prompts cannot be compared."
    )
    scored: int = Field(description="Items scored, of each arm.")
    records: int = Field(description="Items in the records file.")
    expected: int | None = Field(
        description="Items that the split should have; null if the number is not known."
    )
    arms: dict[str, ScoreReport] = Field(description="Every arm's scores.")
    gaps: list[ScoreGap] = Field(description="Differences of later arms to earlier ones.")

    @property
    def exact(self) -> bool:
        """Whether these are exact matches and not a benchmark's scores."""
        return self.name == EXACT

    def gap(self, score: str, label: str, a: str, b: str) -> ScoreGap | None:
        """One difference; None where the score is no mean over questions."""
        for row in self.gaps:
            if (row.score, row.label, row.a, row.b) == (score, label, a, b):
                return row
        return None

    def interval(self, arm: str, score: str, label: str) -> Interval | None:
        """The interval of one value of the table, where there is one.

        Bootstraps are of all questions only; a share of exact matches has Wilson's in every row.
        """
        report = self.arms[arm]
        if label == ALL:
            return report.ci95.get(score)
        if not self.exact:
            return None
        for row in report.labels:
            if row.label == label:
                return share_interval(row.scores[score], row.n)
        return None

    def counts(self) -> str:
        """How many items were scored, of how many, in words."""
        split = f"split {self.split}" if self.split else "the split"
        published = f"the published size of {split} is not known"
        if self.expected:
            published = f"{split} has {self.expected:,}"
        return f"{self.scored:,} of {counted(self.records, 'item')} scored; {published}"

    def how(self) -> str:
        """What was asked and how it was scored, in words."""
        return f"Style {self.style}, prompt {self.prompt}"


@dataclass(frozen=True)
class Asked:
    """What an evaluation asks about, as its scores report it.

    Attributes:
        prompt: Hash of the prompt that the records carry.
        split: Their split; empty where they do not agree on one.
        records: Records in the file, of which a shortened run asks fewer.
    """

    prompt: str
    split: str
    records: int


def asked_of(records: Sequence[Record], task: Task) -> Asked:
    """What a file of records says of itself.

    Raises:
        RecordError: If the records were made for another task.
    """
    # A file that somebody joined from several splits belongs to none of them.
    splits = {str(record.meta.get("split", "")) for record in records}
    split = splits.pop() if len(splits) == 1 else ""
    return Asked(prompt_of(records, task), split, len(records))


def score_arms(
    task: Task,
    items: Mapping[str, Sequence[Item]],
    asked: Asked,
    *,
    style: Style = "default",
    resamples: int,
    seed: int,
) -> tuple[TaskScores, dict[str, ItemRows]]:
    """Score every arm, and compare each with those before it.

    Args:
        task: The task.
        items: Arm -> its items; the reference arms first. All arms answered the same questions.
        asked: What they are about.
        style: "authors" for the authors' scripts to the letter.
        resamples: Draws of whole videos.
        seed: Their seed.

    Returns:
        The scores, and of each arm the rows of its items, ready for `pave compare`.
    """
    reports: dict[str, ScoreReport] = {}
    rows: dict[str, ItemRows] = {}
    # A shortened run scores fewer than expected, and its report says so.
    account = Account(expected=asked.records, prompt=asked.prompt)
    for arm, own in items.items():
        reports[arm], rows[arm] = score_items(
            task, own, style, account, resamples=resamples, seed=seed
        )
    gaps: list[ScoreGap] = []
    for earlier, later in combinations(rows, 2):  # base before LoRA-only before patch
        gaps += _gaps(task, later, earlier, rows, resamples=resamples, seed=seed)
    # All arms answered the same questions: the counts of one are those of all.
    first = next(iter(reports.values()))
    scores = TaskScores(
        name=task.name,
        title=task.title,
        style=style,
        split=asked.split,
        prompt=asked.prompt,
        scored=first.scored,
        records=asked.records,
        expected=task.splits.get(asked.split),
        arms=reports,
        gaps=gaps,
    )
    return scores, rows


def _gaps(
    task: Task, a: str, b: str, rows: Mapping[str, ItemRows], *, resamples: int, seed: int
) -> list[ScoreGap]:
    """Arm a minus arm b, of every score that is a mean."""
    if not rows[a][0]["scores"]:
        return []  # all its scores pool statistics
    ours, theirs = {}, {}
    videos, labels = {}, {}
    for row, other in zip(rows[a], rows[b], strict=True):  # the same questions, in one order
        name = row["id"]
        ours[name], theirs[name] = row["scores"], other["scores"]
        videos[name], labels[name] = row["cluster"], row["labels"]
    gaps = []
    for found in compare(ours, theirs, videos, labels, resamples=resamples, seed=seed):
        interval = found.ci95
        if interval is None and task.judge is not None:
            # Two shares differ by 1 at most: of a handful of clips that is all there is to say.
            interval = (-1.0, 1.0)
        gap = ScoreGap(
            score=found.score,
            label=found.label,
            a=a,
            b=b,
            difference=found.difference,
            ci95=interval,
            clusters=found.clusters,
            p=found.p,
        )
        gaps.append(gap)
    return gaps
