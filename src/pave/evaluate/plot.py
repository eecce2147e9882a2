"""The picture of an evaluation: accuracy or a task's scores with intervals, and learning curves where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.evaluate.items import TITLES
from pave.evaluate.report import Report
from pave.evaluate.scores import ALL, TaskScores, score_rows
from pave.files import make_folder, writing

Curves = Mapping[str, Sequence[tuple[float, float]]]
_COLOURS = (
    "#9aa5b1",
    "#e0a458",
    "#2a6f97",
    "#6a994e",
    "#bc4749",
    "#7b2d8b",
)  # base, LoRA-only, patch, others


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
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "plots need matplotlib: pip install 'pave[eval]', or switch them off with --no-plot"
        ) from error
    groups = _groups(report)
    width = max(8.0, 1.1 * len(groups) + 2)
    figure = Figure(figsize=(width, 7.5 if curves else 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if curves else 1, 1, squeeze=False)[:, 0]
    _bars(axes[0], report, groups)
    if curves:
        _lines(axes[1], curves)
    make_folder(path.parent)
    with writing(path):
        figure.savefig(path, dpi=110)
    return path


@dataclass(frozen=True)
class _Group:
    """Bars that stand together: one value and its interval (or none) for each arm, all in points."""

    title: str
    values: list[float]
    ends: list[tuple[float, float] | None]


def _bars(axis: Any, report: Report, groups: Sequence[_Group]) -> None:
    arms = report.arm_names()
    width = 0.8 / len(arms)
    for number, arm in enumerate(arms):
        places = [place + (number - (len(arms) - 1) / 2) * width for place in range(len(groups))]
        heights = [group.values[number] for group in groups]
        ends = [
            group.ends[number] or (height, height)
            for group, height in zip(groups, heights, strict=True)
        ]
        spread = [
            [height - low for height, (low, _) in zip(heights, ends, strict=True)],
            [high - height for height, (_, high) in zip(heights, ends, strict=True)],
        ]
        colour = _COLOURS[number % len(_COLOURS)]
        axis.bar(
            places,
            heights,
            width * 0.92,
            yerr=spread,
            label=arm,
            color=colour,
            error_kw={"lw": 1, "capsize": 2},
        )
    axis.set_xticks(range(len(groups)), [group.title for group in groups], fontsize=8)
    highest = max(high for group in groups for value, ends in zip(group.values, group.ends, strict=True)
                  for high in (value, *(ends or ())))  # fmt: skip
    label = "exact match, %" if report.task is None else f"{report.task.title}, x 100"
    axis.set(
        ylim=(0, max(105.0, 1.05 * highest)),
        ylabel=label,
        title=f"{report.clips} clips, 95 % intervals",
    )
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, ncols=len(arms), loc="upper right")


def _groups(report: Report) -> list[_Group]:
    """A group a family; where a task scored, one for each score of the whole, and one for the first score of each label."""
    if report.task is not None:
        return _task_groups(report.task)
    arms, found = report.arm_names(), []
    for family in report.families():
        rows = [report.arm(arm, family) for arm in arms]
        ends: list[tuple[float, float] | None] = [
            (100 * row.ci95[0], 100 * row.ci95[1]) for row in rows
        ]
        found.append(
            _Group(
                f"{TITLES.get(family, family)}\nn={rows[0].n}",
                [100 * row.accuracy for row in rows],
                ends,
            )
        )
    return found


def _task_groups(task: TaskScores) -> list[_Group]:
    found, labels = [], set()
    for label, score, n, values in score_rows(task):
        if label in labels:
            continue  # one bar a label: the first of its scores
        intervals = [task.arms[arm].ci95.get(score) if label == ALL else None for arm in values]
        ends = [(100 * pair[0], 100 * pair[1]) if pair else None for pair in intervals]
        found.append(
            _Group(
                f"{score if label == ALL else label}\nn={n}",
                [100 * (value or 0.0) for value in values.values()],
                ends,
            )
        )
        labels |= {label} - {ALL}
    return found


def _lines(axis: Any, curves: Curves) -> None:
    for number, (name, points) in enumerate(curves.items()):
        # The first colour is the base's, which has no curve.
        colour = _COLOURS[(number + 1) % len(_COLOURS)]
        axis.plot(
            [step for step, _ in points], [loss for _, loss in points], label=name, color=colour
        )
    axis.set(xlabel="optimiser step", ylabel="training loss", yscale="log")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
