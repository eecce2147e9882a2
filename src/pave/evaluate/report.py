"""`Report`: all results of an evaluation as data, its Markdown page and its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pave.evaluate.items import TITLES
from pave.evaluate.scores import TaskScores, score_table
from pave.evaluate.table import ArmRow, PairedRow
from pave.files import write_text_atomically


class Report(BaseModel):
    """The content of `results.json`. Shares and differences are fractions, 0.2 is 20 points."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arms: list[ArmRow] = Field(
        description="Accuracy by arm and family, by exact match; empty where a task scores."
    )
    paired: list[PairedRow] = Field(
        description="Differences of later arms to earlier ones, on the same questions; likewise."
    )
    task: TaskScores | None = Field(
        None, description="Scores and differences by the task's own metric, where one was named."
    )
    clips: int = Field(description="Clips that were asked about.")
    seconds: dict[str, float] = Field(description="Wall seconds of each stage.")
    peak_rss_mb: float = Field(description="Most memory of all processes together, in MB.")
    trainable_parameters: dict[str, int] = Field(
        description="Parameters of each arm's patch: fusion and LoRA."
    )
    seeds: dict[str, int] = Field(description="Every seed that was used.")
    versions: dict[str, str] = Field(description="Python and packages.")
    command: str = Field(description="What to type to get these numbers again.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Resolved settings.")

    def arm_names(self) -> list[str]:
        """Arms in order."""
        if self.task is not None:
            return list(self.task.arms)
        return list(dict.fromkeys(row.arm for row in self.arms))

    def families(self) -> list[str]:
        """Row names in order: all, groups, families."""
        return list(dict.fromkeys(row.family for row in self.arms))

    def arm(self, arm: str, family: str = "all") -> ArmRow:
        """One accuracy row.

        Raises:
            KeyError: If there is no such row.
        """
        for row in self.arms:
            if (row.arm, row.family) == (arm, family):
                return row
        raise KeyError((arm, family))

    def gap(self, a: str, b: str, family: str = "all") -> PairedRow:
        """One row of differences, a minus b.

        Raises:
            KeyError: If there is no such row.
        """
        for row in self.paired:
            if (row.a, row.b, row.family) == (a, b, family):
                return row
        raise KeyError((a, b, family))


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the result table in points: a row a family, a column an arm, then the last arm's differences.

    Where a task scored, a row is a score of all questions or of one label.
    """
    if report.task is not None:
        return score_table(report.task)
    arms = report.arm_names()
    last, others = arms[-1], arms[:-1]
    header = ["questions", "n", *arms, *(f"{last} - {other}" for other in others)]
    rows = []
    for family in report.families():
        shares = [_share(report.arm(arm, family)) for arm in arms]
        gaps = [_gap(report.gap(last, other, family)) for other in others]
        rows.append([TITLES.get(family, family), str(report.arm(last, family).n), *shares, *gaps])
    return header, rows


def _share(row: ArmRow) -> str:
    return f"{100 * row.accuracy:.1f} ({100 * row.ci95[0]:.0f} to {100 * row.ci95[1]:.0f})"


def _gap(row: PairedRow) -> str:
    return f"{100 * row.difference:+.1f} ({100 * row.ci95[0]:+.1f} to {100 * row.ci95[1]:+.1f})"


def markdown(report: Report, title: str = "Evaluation", images: Sequence[str] = ()) -> str:
    """The report as a page: table, how to read it, cost, command."""
    header, rows = table(report)
    lines = [f"# {title}", "", _row(header), _row(["---"] + ["---:"] * (len(header) - 1))]
    lines += [
        _row([f"**{row[0]}**", *row[1:]] if row[0] in TITLES.values() else row) for row in rows
    ]
    lines += ["", *_how_to_read(report), ""]
    lines += [f"![{Path(name).stem}]({name})\n" for name in images]
    lines += ["| cost | |", "|---|---:|"]
    lines += [f"| {stage} | {seconds:.1f} s |" for stage, seconds in report.seconds.items()]
    lines += [
        f"| all stages | {sum(report.seconds.values()):.1f} s |",
        f"| peak memory | {report.peak_rss_mb:,.0f} MB |",
    ]
    lines += [
        f"| trained parameters, {arm} | {count:,} |"
        for arm, count in report.trainable_parameters.items()
    ]
    lines += [
        "",
        f"Seeds: {_pairs(report.seeds)}. Versions: {_pairs(report.versions)}.",
        "",
        f"    {report.command}",
        "",
    ]
    return "\n".join(lines)


def _how_to_read(report: Report) -> list[str]:
    """What the numbers of the table are."""
    run = f"{report.clips} clips, greedy answers, every arm on the same frames in one run."
    if report.task is None:
        wilson = "In parentheses the 95 % interval: Wilson's for an accuracy; for a difference a paired bootstrap over whole clips."
        return [f"Exact match in per cent, {run}", wilson]
    notes = {
        f"{name}: {note}" for arm in report.task.arms.values() for name, note in arm.notes.items()
    }
    return [
        f"Scores of {report.task.title} times 100, {run} {report.task.counts()}. "
        f"{report.task.how()}.",
        "In parentheses the 95 % interval, a bootstrap over whole videos; scores that pool all "
        "questions have none.",
        *(f"\n{note}" for note in sorted(notes)),
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def write_report(
    report: Report, out: Path, *, title: str = "Evaluation", images: Sequence[str] = ()
) -> None:
    """Write `results.json` and `report.md`, each complete or not at all."""
    write_text_atomically(
        out / "results.json", json.dumps(report.model_dump(mode="json"), indent=2) + "\n"
    )
    write_text_atomically(out / "report.md", markdown(report, title, images))
