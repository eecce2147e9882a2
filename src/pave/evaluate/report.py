"""`Report`: all results of an evaluation as data, its Markdown page and its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

from pave.evaluate.old_results import with_task
from pave.evaluate.scores import TaskScores
from pave.evaluate.table import Cells, evaluation_table, few_note, row_title
from pave.files import write_text_atomically
from pave.tasks.compare import ALL
from pave.tasks.score import Interval
from pave.texts import counted

ACCURACY = "accuracy"
"""The one score of exact match."""
TOKENS = "tokens of a prompt"
"""The last row of a result table."""


class AccuracyRow(BaseModel):
    """Accuracy of one arm on one family of questions; all shares are fractions."""

    model_config = ConfigDict(frozen=True)

    arm: str
    family: str = Field(description='"all", a channel, "video" for the control, or one family.')
    n: int
    correct: int
    accuracy: float
    ci95: Interval = Field(description="Wilson interval of the accuracy.")


class PairedRow(BaseModel):
    """accuracy(a) - accuracy(b) on the same questions; all shares are fractions."""

    model_config = ConfigDict(frozen=True)

    family: str
    a: str
    b: str
    difference: float
    ci95: Interval = Field(description="Interval over clips.")
    clusters: int | None = Field(None, description="Clips; null in results of an older pave.")


class Report(BaseModel):
    """The content of `results.json`. Shares and differences are fractions, 0.2 is 20 points."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: TaskScores = Field(description="Every arm's scores, and the differences between arms.")
    clips: int = Field(description="Number of clips that were asked about.")
    prompt_tokens: dict[str, float | None] = Field(
        default_factory=dict,
        description="Mean tokens of each arm's prompts, visual ones included; null for token "
        "probes. Empty in results of an older pave.",
    )
    notes: list[str] = Field(
        default_factory=list, description="What arms left out or replaced, one line each."
    )
    seconds: dict[str, float] = Field(description="Wall seconds of each stage.")
    peak_rss_mb: float = Field(description="Peak memory of all processes together, in MB.")
    trainable_parameters: dict[str, int] = Field(
        description="Parameters of each arm's patch: fusion and LoRA."
    )
    seeds: dict[str, int] = Field(description="Every seed that was used.")
    versions: dict[str, str] = Field(description="Python and packages.")
    command: str = Field(description="The command that repeats the measurement.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Resolved settings.")

    @model_validator(mode="before")
    @classmethod
    def _computed(cls, values: Any) -> Any:
        """`arms` and `paired` of a file follow from `task`, or in files of an older pave are it."""
        if not isinstance(values, Mapping):
            return values
        return with_task(values)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def arms(self) -> list[AccuracyRow]:
        """Accuracy by family and arm, for exact match; empty where a benchmark scores."""
        rows = []
        for label in self.families():
            for arm, report in self.task.arms.items():
                n, share = report.scored, report.scores[ACCURACY]  # of all questions
                for row in report.labels:
                    if row.label == label:
                        n, share = row.n, row.scores[ACCURACY]
                interval = self.task.interval(arm, ACCURACY, label)
                if share is None or interval is None:
                    continue  # exact match always has both
                found = AccuracyRow(
                    arm=arm,
                    family=label,
                    n=n,
                    correct=round(share * n),
                    accuracy=share,
                    ci95=interval,
                )
                rows.append(found)
        return rows

    @computed_field  # type: ignore[prop-decorator]
    @property
    def paired(self) -> list[PairedRow]:
        """Differences of later arms to earlier ones, for exact match; likewise."""
        rows = []
        for label in self.families():
            for gap in self.task.gaps:
                if gap.label != label or gap.ci95 is None:
                    continue
                row = PairedRow(
                    family=label,
                    a=gap.a,
                    b=gap.b,
                    difference=gap.difference,
                    ci95=gap.ci95,
                    clusters=gap.clusters,
                )
                rows.append(row)
        return rows

    def arm_names(self) -> list[str]:
        """Arms in order."""
        return list(self.task.arms)

    def families(self) -> list[str]:
        """Row names of an exact match in order: all, then each channel with its families."""
        if not self.task.exact:
            return []
        first = next(iter(self.task.arms.values()))
        return [ALL, *(row.label for row in first.labels)]

    def arm(self, arm: str, family: str = ALL) -> AccuracyRow:
        """One accuracy row of an exact match.

        Raises:
            KeyError: If there is no such row.
        """
        for row in self.arms:
            if (row.arm, row.family) == (arm, family):
                return row
        raise KeyError((arm, family))

    def gap(self, a: str, b: str, family: str = ALL) -> PairedRow:
        """One row of differences of an exact match, a minus b.

        Raises:
            KeyError: If there is no such row.
        """
        for row in self.paired:
            if (row.a, row.b, row.family) == (a, b, family):
                return row
        raise KeyError((a, b, family))


def table(report: Report) -> Cells:
    """Header and cells of the result table, in points; what the prompts cost comes last."""
    header, rows = evaluation_table(report.task)
    if report.prompt_tokens:
        cost = [TOKENS]
        cost += [""] * (header.index(report.arm_names()[0]) - 1)
        for arm in report.arm_names():
            tokens = report.prompt_tokens.get(arm)
            cost.append("none" if tokens is None else f"{tokens:,.0f}")
        rows.append(cost + [""] * (len(header) - len(cost)))
    return header, rows


def markdown(report: Report, title: str = "Evaluation", images: Sequence[str] = ()) -> str:
    """The report as a page: table, how to read it, cost, command."""
    header, rows = table(report)
    lines = [f"# {title}", "", _row(header), _row(["---"] + ["---:"] * (len(header) - 1))]
    # Rows that pool families stand out: all questions, and those of a channel.
    wide = set()
    for label in (ALL, *report.families()):
        title = row_title(label)
        if title != label:
            wide.add(title)
    for name, *cells in rows:
        shown = f"**{name}**" if name in wide else name
        lines.append(_row([shown, *cells]))
    # A blank line ends the table, and again what says how to read it.
    lines += ["", *how_to_read(report), ""]
    for note in report.notes:
        # Names of arms and files may hold what Markdown reads.
        lines += [note.replace("*", "\\*").replace("_", "\\_"), ""]
    for name in images:
        stem = Path(name).stem
        lines.append(f"![{stem}]({name})\n")
    lines += ["| cost | |", "|---|---:|"]
    for stage, seconds in report.seconds.items():
        lines.append(f"| {stage} | {seconds:.1f} s |")
    lines.append(f"| all stages | {sum(report.seconds.values()):.1f} s |")
    lines.append(f"| peak memory | {report.peak_rss_mb:,.0f} MB |")
    for arm, count in report.trainable_parameters.items():
        lines.append(f"| trained parameters, {arm} | {count:,} |")
    made_with = f"Seeds: {_pairs(report.seeds)}. Versions: {_pairs(report.versions)}."
    # Four spaces make a block of code of the command.
    lines += ["", made_with, "", f"    {report.command}", ""]
    return "\n".join(lines)


def how_to_read(report: Report) -> list[str]:
    """What the numbers of the table are."""
    run = (
        f"{counted(report.clips, 'clip')}, greedy answers, every arm on the same frames in one run."
    )
    if report.task.exact:
        return [
            f"Exact match in per cent, {run}",
            "In parentheses the 95 % interval: Wilson's for an accuracy; for a difference a "
            "paired one over whole clips.",
            *_few(report),
        ]
    notes = set()  # most are the same for every arm
    for arm in report.task.arms.values():
        for name, note in arm.notes.items():
            notes.add(f"\n{name}: {note}")
    return [
        f"Scores of {report.task.title} times 100, {run} {report.task.counts()}. "
        f"{report.task.how()}.",
        "In parentheses the 95 % interval over whole videos; scores that pool all questions "
        "have none.",
        *_few(report),
        *sorted(notes),
    ]


def _few(report: Report) -> list[str]:
    """The line on rows of few clips; a star would be Markdown's."""
    return list(map("\\{}.".format, few_note(table(report))))


def _row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    # A bar of its own would end the cell.
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def write_report(
    report: Report, out: Path, *, title: str = "Evaluation", images: Sequence[str] = ()
) -> None:
    """Write `results.json` and `report.md`, each complete or not at all."""
    results = json.dumps(report.model_dump(mode="json"), indent=2)
    write_text_atomically(out / "results.json", results + "\n")
    write_text_atomically(out / "report.md", markdown(report, title, images))
