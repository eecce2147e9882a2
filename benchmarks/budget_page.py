"""docs/budget.md: the table and the curves of the points of `make budget` that are finished."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from budget_points import AXES, MIDDLE, Point, middle_value, points
from pages import between_marks

from pave.channels import describe_encoder
from pave.data import read_records
from pave.evaluate.arm_files import read_rows
from pave.metrics import Paired, paired
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST
from pave_world.films.make import RECORDS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "budget.md"
PLOT = ROOT / "docs" / "assets" / "budget.png"
COSTS = {
    "parameters": "trained parameters, millions",
    "operations": "operations of the patch a clip, GFLOP",
    "seconds": "processor seconds of the training",
}


@dataclass(frozen=True)
class Answers:
    """What one run answered about the held-out clips, of the questions that need the channel.

    Attributes:
        right: Question -> 1.0 or 0.0.
        clips: Question -> its clip.
    """

    right: Mapping[str, float]
    clips: Mapping[str, str]

    def minus(self, other: Answers) -> Paired:
        """The paired difference to another run."""
        names = list(self.right)
        return paired(
            [self.right[name] for name in names],
            [other.right[name] for name in names],
            [self.clips[name] for name in names],
        )

    @property
    def accuracy(self) -> float:
        """Share of the questions that are answered right."""
        return sum(self.right.values()) / len(self.right)


@dataclass(frozen=True)
class Measured:
    """A finished point.

    Attributes:
        point: Its settings.
        cost: Name of a cost (`COSTS`) -> how much.
        patch: The patch's answers.
        control: Those of the LoRA of the same shape without the channel.
    """

    point: Point
    cost: Mapping[str, float]
    patch: Answers
    control: Answers


def measured(middle: DemoConfig) -> list[Measured]:
    """The finished points of a task, the middle first; none as long as that is missing."""
    found = []
    for point in points(middle):
        runs = (point.name, point.control)
        if all((middle.out / "eval" / run / "results.json").is_file() for run in runs):
            patch, control = (_answers(middle, run) for run in runs)
            found.append(Measured(point, _cost(middle, point), patch, control))
    if not found or found[0].point.name != MIDDLE:
        return []
    return found


def _answers(middle: DemoConfig, run: str) -> Answers:
    """What a run said about the questions that need the channel."""
    rows = read_rows(middle.out / "eval" / run / "patch.jsonl", "patch")
    right = {}
    clips = {}
    for record in read_records(middle.world(TEST) / RECORDS, check_media=False):
        if record.meta["channel"] == middle.channel:
            right[record.id] = float(rows["patch", record.id].correct or False)
            clips[record.id] = record.video
    return Answers(right, clips)


def _cost(middle: DemoConfig, point: Point) -> dict[str, float]:
    """Of one patch; the LoRA's operations as in training, where it is not merged."""
    file = middle.out / "runs" / f"{point.name}.yaml"
    found = estimate(plan(str(file), side=point.side))
    lora = 2 * found.parameters["lora"] * found.tokens["prompt"]
    spent = json.loads(file.with_suffix(".json").read_text("utf-8"))["cpu_seconds"]
    return {
        "parameters": found.parameters["trained"] / 1e6,
        "operations": (found.flops["patch"] + lora) / 1e9,
        "seconds": spent,
    }


def write_page(middles: Sequence[DemoConfig]) -> None:
    """Fill the places between the markers of the page, and draw the curves."""
    tasks = []
    for middle in middles:
        rows = measured(middle)
        if rows:
            tasks.append((middle, rows))
    if not tasks:
        raise SystemExit("no point is finished; leave out --write-only")
    page = PAGE.read_text("utf-8")
    for middle, rows in tasks:
        page = between_marks(page, f"budget-{middle.channel}", section(middle, rows))
    PAGE.write_text(page, "utf-8")
    draw(tasks)
    for middle, rows in tasks:
        print(section(middle, rows))


def section(middle: DemoConfig, rows: Sequence[Measured]) -> str:
    """What was measured of one task."""
    first = rows[0]
    count, clips = len(first.patch.right), len(set(first.patch.clips.values()))
    title = describe_encoder(middle.channel).title
    lines = [
        f"{count} questions that need {title}, about {clips} held-out clips; one training of "
        f"{middle.steps} steps on {middle.train_clips} clips each, seed {middle.seed}, on "
        f"{platform.machine()}.",
        "",
        "| changed | to | parameters | operations | seconds | LoRA-only | patch | "
        "patch - LoRA-only | patch - middle |",
        "|---" * 9 + "|",
    ]
    lines += [_line(row, first) for row in rows]
    return "\n".join(lines)


def _line(row: Measured, middle: Measured) -> str:
    """One point as a row of the table."""
    axis, value = (AXES[row.point.axis], row.point.value) if row.point.axis else ("(middle)", "")
    cells = [
        axis,
        value,
        f"{row.cost['parameters']:.2f} M",
        f"{row.cost['operations']:.2f} G",
        f"{row.cost['seconds']:.0f}",
        f"{100 * row.control.accuracy:.1f}",
        f"{100 * row.patch.accuracy:.1f}",
        _gap(row.patch.minus(row.control)),
        "" if row is middle else _gap(row.patch.minus(middle.patch)),
    ]
    return f"| {' | '.join(cells)} |"


def _gap(found: Paired) -> str:
    """A difference in points, with its interval where there is one."""
    text = f"{100 * found.difference:+.1f}"
    if found.ci95 is None:
        return text
    low, high = found.ci95
    return f"{text} ({100 * low:+.1f} to {100 * high:+.1f})"


def curve(middle: DemoConfig, rows: Sequence[Measured], axis: str, cost: str) -> dict[str, Any]:
    """The points of one axis with the middle among them, in the order of their cost."""
    chosen = [row for row in rows if row.point.axis in ("", axis)]
    if len(chosen) < 2:
        return {"x": [], "y": [], "labels": []}
    chosen.sort(key=lambda row: row.cost[cost])
    labels = [row.point.value if row.point.axis else middle_value(middle, axis) for row in chosen]
    return {
        "x": [row.cost[cost] for row in chosen],
        "y": [100 * row.patch.accuracy for row in chosen],
        "labels": labels,
    }


def draw(tasks: Sequence[tuple[DemoConfig, Sequence[Measured]]]) -> None:
    """A row of panels for each task, a panel for each cost, a line for each axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6 * len(tasks)), layout="constrained")
    panels = figure.subplots(len(tasks), len(COSTS), squeeze=False, sharey="row")
    for (middle, rows), line in zip(tasks, panels, strict=True):
        for axes, (cost, label) in zip(line, COSTS.items(), strict=True):
            for axis, name in AXES.items():
                found = curve(middle, rows, axis, cost)
                if not found["x"]:
                    continue
                axes.plot(found["x"], found["y"], marker="o", markersize=4, label=name)
                for x, y, text in zip(found["x"], found["y"], found["labels"], strict=True):
                    axes.annotate(
                        text, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=6
                    )
            first = rows[0]
            middle_point = (first.cost[cost], 100 * first.patch.accuracy)
            axes.plot(*middle_point, "ko", markersize=6, label="the middle")
            control = 100 * first.control.accuracy
            axes.axhline(control, color="#8592a0", linewidth=1, linestyle=":")
            axes.set(xlabel=label)
        title = describe_encoder(middle.channel).title
        line[0].set(ylabel=f"{title}: right, in percent")
        line[-1].legend(frameon=False, fontsize=7)
    figure.savefig(PLOT, dpi=110, metadata={"Software": None})
