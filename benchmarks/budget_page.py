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
_MIDDLE = "(middle)"


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
    """Fill the places between the markers of the page, and draw the curves of its tables.

    A task of which no run is left keeps its table.
    """
    page = PAGE.read_text("utf-8")
    for middle in middles:
        rows = measured(middle)
        if rows:
            text = section(middle, rows)
            page = between_marks(page, f"budget-{middle.channel}", text)
            print(text)
    PAGE.write_text(page, "utf-8")
    draw(middles, page)


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
    axis, value = (AXES[row.point.axis], row.point.value) if row.point.axis else (_MIDDLE, "")
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


@dataclass(frozen=True)
class Drawn:
    """A point as the table of the page has it: what the figure is drawn from.

    Attributes:
        axis: What differs from the middle; "" for the middle itself.
        value: What it was changed to.
        cost: Name of a cost (`COSTS`) -> how much.
        control: Right answers of LoRA-only, in percent.
        patch: Those of the patch.
    """

    axis: str
    value: str
    cost: Mapping[str, float]
    control: float
    patch: float


def drawn(page: str, channel: str) -> list[Drawn]:
    """The points of a task in the page's own table; none where it has no table yet."""
    _, _, rest = page.partition(f"<!-- budget-{channel}:start -->")
    text, _, _ = rest.partition(f"<!-- budget-{channel}:end -->")
    axes = {title: axis for axis, title in AXES.items()} | {_MIDDLE: ""}
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] not in axes:
            continue
        title, value, *numbers = cells
        # "3.59 M", "0.44 G" and "106", in the order of `COSTS`; then LoRA-only and patch.
        plain = [float(cell.split()[0]) for cell in numbers[: len(COSTS) + 2]]
        cost = dict(zip(COSTS, plain, strict=False))
        control, patch = plain[len(COSTS) :]
        found.append(Drawn(axes[title], value, cost, control, patch))
    return found


def curve(rows: Sequence[Drawn], axis: str, cost: str) -> list[Drawn]:
    """The points of one axis with the middle among them, in the order of their cost."""
    chosen = [row for row in rows if row.axis in ("", axis)]
    if len(chosen) < 2:
        return []
    return sorted(chosen, key=lambda row: row.cost[cost])


def draw(middles: Sequence[DemoConfig], page: str, plot: Path = PLOT) -> None:
    """A row of panels for each task, a panel for each cost, a line for each axis."""
    from matplotlib.figure import Figure

    tasks = [(middle, rows) for middle in middles if (rows := drawn(page, middle.channel))]
    figure = Figure(figsize=(11, 3.6 * len(tasks)), layout="constrained")
    panels = figure.subplots(len(tasks), len(COSTS), squeeze=False, sharey="row")
    for (middle, rows), line in zip(tasks, panels, strict=True):
        for axes, (cost, label) in zip(line, COSTS.items(), strict=True):
            _draw_panel(axes, middle, rows, cost)
            axes.set(xlabel=label)
        title = describe_encoder(middle.channel).title
        line[0].set(ylabel=f"{title}: right, in percent")
        line[-1].legend(frameon=False, fontsize=7)
    figure.savefig(plot, dpi=110, metadata={"Software": None})


def _draw_panel(axes: Any, middle: DemoConfig, rows: Sequence[Drawn], cost: str) -> None:
    """All axes over one cost; the point that they share has one label for all of them."""
    shared = []
    for number, (axis, name) in enumerate(AXES.items()):
        found = curve(rows, axis, cost)
        if not found:
            continue
        shared.append(middle_value(middle, axis))
        x, y = [row.cost[cost] for row in found], [row.patch for row in found]
        colour = f"C{number}"  # an axis has the same one in every panel
        axes.plot(x, y, marker="o", markersize=4, label=name, color=colour)
        for row in found:
            if row.axis:
                _label(axes, row, cost, row.value, colour)
    first = next(row for row in rows if not row.axis)
    axes.plot(first.cost[cost], first.patch, "ko", markersize=6, label="the middle")
    _label(axes, first, cost, " / ".join(shared), "black")
    axes.axhline(first.control, color="#8592a0", linewidth=1, linestyle=":")
    axes.margins(x=0.12, y=0.12)


def _label(axes: Any, row: Drawn, cost: str, text: str, colour: str) -> None:
    """Write beside a point."""
    place = (row.cost[cost], row.patch)
    beside = {"xytext": (5, 4), "textcoords": "offset points"}
    axes.annotate(text, place, fontsize=7, color=colour, **beside)
