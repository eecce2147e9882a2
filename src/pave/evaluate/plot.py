"""The picture of an evaluation: scores, differences, and learning curves where there are any.

Everything with its 95 % interval: a row a kind of question, a dot an arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.evaluate.report import Report
from pave.evaluate.table import Row, rows_of
from pave.files import make_folder, writing
from pave.tasks.compare import ALL
from pave.tasks.score import Interval
from pave.version import install_extra

Curves = Mapping[str, Sequence[tuple[float, float]]]
# Base, LoRA-only, patch, others.
_COLOURS = (
    "#8592a0",
    "#e0a458",
    "#2a6f97",
    "#6a994e",
    "#bc4749",
    "#7b2d8b",
)
_INK = "#334155"
_RULE = "#cbd5e1"
# Inches. 9 of them are shown at 700 to 1,000 pixels, where letters of 10 points can be read.
_WIDTH = 9.0
_HEAD = 1.3
_ROW = 0.38
_CURVES = 3.2


def draw(report: Report, path: Path, curves: Curves | None = None) -> Path:
    """Draw `report` into a PNG file, without a display.

    Args:
        report: What to draw.
        path: The PNG file.
        curves: Name of a run -> (step, training loss) points; left out when there are none.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    figure = figure_of(report, curves)
    make_folder(path.parent)
    with writing(path):
        figure.savefig(path, dpi=110)
    return path


def figure_of(report: Report, curves: Curves | None = None) -> Any:
    """The same as a matplotlib figure.

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
    heights = [_HEAD + _ROW * len(groups)]
    if curves:
        heights.append(_CURVES)
    height = sum(heights)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(
        len(heights),
        1,
        squeeze=False,
        height_ratios=heights,
    )
    top = parts[0, 0]
    # Both sides have a row for each kind of question.
    scores, gaps = top.subplots(1, 2, sharey=True)
    _draw_scores(scores, report, groups)
    _draw_gaps(gaps, report, groups)
    _draw_legend(top, scores)
    if curves:
        below = parts[1, 0]
        axis = below.subplots()
        _draw_curves(axis, curves)
        _draw_legend(below, axis)
    return figure


def _draw_legend(part: Any, axis: Any) -> None:
    """Above everything, where it covers nothing."""
    handles, names = axis.get_legend_handles_labels()
    part.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=len(names),
        frameon=False,
    )


def _groups(report: Report) -> list[Row]:
    """The rows that are drawn.

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


def _draw_scores(axis: Any, report: Report, groups: Sequence[Row]) -> None:
    """Left: a dot an arm in every row, with its interval, in points."""
    highest = 100.0
    arms = report.arm_names()
    for number, arm in enumerate(arms):
        colour = _colour(number)
        places = _places(len(groups), number, len(arms))
        for place, row in zip(places, groups, strict=True):
            value = row.values[arm]
            if value is None:  # METEOR is missing without Java
                continue
            # A score that pools all questions has no interval.
            ends = row.intervals[arm] or (value, value)
            _draw_dot(axis, place, value, ends, colour)
            highest = max(highest, 100 * ends[1])  # CIDEr goes beyond 100
        # An empty line, for the legend.
        axis.plot([], [], "o", color=colour, label=arm)
    unit = f"{report.task.title}, x 100"
    if report.task.exact:
        unit = "exact match, %"
    axis.set_xlim(-3, 1.03 * highest)
    axis.set_xlabel(unit)
    titles = [_tick(report, row) for row in groups]
    axis.set_yticks(range(len(groups)), titles)
    axis.set_ylim(len(groups) - 0.5, -0.5)  # the first row is at the top
    _tidy(axis, groups)


def _draw_gaps(axis: Any, report: Report, groups: Sequence[Row]) -> None:
    """Right: how far the last arm is from each other one, in that one's colour."""
    *others, last = report.arm_names()
    drawn = []
    for number, other in enumerate(others):
        colour = _colour(number)
        places = _places(len(groups), number, len(others))
        for place, row in zip(places, groups, strict=True):
            gap = row.gaps[other]
            if gap is None:  # a score that is no mean over questions
                continue
            ends = gap.ci95 or (gap.difference, gap.difference)
            _draw_dot(axis, place, gap.difference, ends, colour)
            if other not in drawn:
                drawn.append(other)
    axis.axvline(0, color=_INK, linewidth=1)
    than = " / ".join(drawn) or "nothing"
    axis.set_xlabel(f"{last} minus {than}, points")
    axis.tick_params(axis="y", length=0)
    _tidy(axis, groups)


def _draw_dot(axis: Any, place: float, value: float, ends: Interval, colour: str) -> None:
    """A value and its interval, fractions that are drawn as points, on a row."""
    low, high = ends
    axis.plot(
        [100 * low, 100 * high],
        [place, place],
        color=colour,
        linewidth=2,
        solid_capstyle="butt",
    )
    axis.plot([100 * value], [place], "o", color=colour, markersize=6)


def _places(rows: int, number: int, count: int) -> list[float]:
    """Where the marks of one of several arms stand: below one another in each row."""
    middle = (count - 1) / 2
    # A row is 1 high; 0.4 of it stay free.
    offset = (number - middle) * 0.6 / count
    return [row + offset for row in range(rows)]


def _colour(number: int) -> str:
    """The colour of an arm; more arms than colours begin again."""
    return _COLOURS[number % len(_COLOURS)]


def _tidy(axis: Any, groups: Sequence[Row]) -> None:
    """A grid along the values, and a line above each row that pools families."""
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    for place, row in enumerate(groups):
        pools = row.title != row.label
        if place and pools:
            axis.axhline(place - 0.5, color=_RULE, linewidth=0.8)


def _tick(report: Report, row: Row) -> str:
    """What stands beside a row."""
    name = row.title
    if row.label == ALL and not report.task.exact:
        name = row.score  # a benchmark has several scores of all questions
    return f"{name}  (n={row.n})"


def _draw_curves(axis: Any, curves: Curves) -> None:
    """Training loss by step, a line a run."""
    for number, (name, points) in enumerate(curves.items()):
        steps = []
        losses = []
        for step, loss in points:
            steps.append(step)
            losses.append(loss)
        # The first colour is the base's, which has no curve.
        colour = _colour(number + 1)
        axis.plot(steps, losses, label=name, color=colour)
    axis.set_xlabel("optimiser step")
    axis.set_ylabel("training loss")
    # Losses fall by orders of magnitude.
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
