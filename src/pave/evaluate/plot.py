"""The picture of an evaluation: scores with intervals, and learning curves where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.evaluate.report import Report
from pave.evaluate.table import Row, rows_of
from pave.files import make_folder, writing
from pave.tasks.compare import ALL
from pave.version import install_extra

Curves = Mapping[str, Sequence[tuple[float, float]]]
# Base, LoRA-only, patch, others.
_COLOURS = ("#9aa5b1", "#e0a458", "#2a6f97", "#6a994e", "#bc4749", "#7b2d8b")


def draw(report: Report, path: Path, curves: Curves | None = None) -> Path:
    """Draw `report` into a PNG file, without a display.

    Args:
        report: What to draw.
        path: The PNG file.
        curves: Name of a run -> (step, training loss) points; left out when there are none.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    try:
        # Not pyplot, which looks for a display.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"plots need matplotlib: {install_extra('eval')}, or switch them off with --no-plot"
        ) from error
    groups = _groups(report)
    width = max(8.0, 1.1 * len(groups) + 2)  # inches: a bar's title must have room
    figure = Figure(figsize=(width, 7.5 if curves else 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if curves else 1, 1, squeeze=False)[:, 0]
    _draw_bars(axes[0], report, groups)
    if curves:
        _draw_curves(axes[1], curves)
    make_folder(path.parent)
    with writing(path):
        figure.savefig(path, dpi=110)
    return path


def _groups(report: Report) -> list[Row]:
    """The rows that are drawn, a group of bars each.

    Of an exact match every row; of a benchmark each score of the whole, and of each label the first
    of its scores.
    """
    drawn = []
    labels = set()
    for row in rows_of(report.task):
        if row.label in labels:
            continue
        if row.label != ALL:
            labels.add(row.label)
        drawn.append(row)
    return drawn


def _draw_bars(axis: Any, report: Report, groups: Sequence[Row]) -> None:
    """A group of bars a row, a bar an arm, all in points."""
    arms = report.arm_names()
    width = 0.8 / len(arms)  # a group takes 0.8 of the distance to the next
    highest = 0.0
    for number, arm in enumerate(arms):
        offset = (number - (len(arms) - 1) / 2) * width
        places, heights, below, above = [], [], [], []
        for place, row in enumerate(groups):
            # METEOR is missing without Java: a bar of no height.
            value = row.values[arm] or 0.0
            low, high = row.intervals[arm] or (value, value)
            places.append(place + offset)
            heights.append(100 * value)
            # matplotlib wants distances from the bar's top, not the ends themselves.
            below.append(100 * (value - low))
            above.append(100 * (high - value))
            highest = max(highest, 100 * high)
        axis.bar(
            places,
            heights,
            width * 0.92,
            yerr=[below, above],
            label=arm,
            color=_COLOURS[number % len(_COLOURS)],
            error_kw={"lw": 1, "capsize": 2},
        )
    axis.set_xticks(range(len(groups)), [_tick(report, row) for row in groups], fontsize=8)
    unit = "exact match, %" if report.task.exact else f"{report.task.title}, x 100"
    axis.set(
        ylim=(0, max(105.0, 1.05 * highest)),  # CIDEr goes beyond 100
        ylabel=unit,
        title=f"{report.clips} clips, 95 % intervals",
    )
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, ncols=len(arms), loc="upper right")


def _tick(report: Report, row: Row) -> str:
    """What stands below a group of bars."""
    name = row.title
    if row.label == ALL and not report.task.exact:
        name = row.score  # a benchmark has several scores of all questions
    return f"{name}\nn={row.n}"


def _draw_curves(axis: Any, curves: Curves) -> None:
    """Training loss by step, a line a run."""
    for number, (name, points) in enumerate(curves.items()):
        # The first colour is the base's, which has no curve.
        colour = _COLOURS[(number + 1) % len(_COLOURS)]
        steps, losses = [], []
        for step, loss in points:
            steps.append(step)
            losses.append(loss)
        axis.plot(steps, losses, label=name, color=colour)
    axis.set(xlabel="optimiser step", ylabel="training loss", yscale="log")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
