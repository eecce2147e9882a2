"""The picture of an evaluation: accuracy by family and arm with intervals, and learning curves where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.evaluate.items import TITLES
from pave.evaluate.report import Report

Curves = Mapping[str, Sequence[tuple[float, float]]]
_COLOURS = ("#9aa5b1", "#e0a458", "#2a6f97", "#6a994e", "#bc4749", "#7b2d8b")  # base, LoRA-only, patch, others


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
        raise ConfigError("plots need matplotlib: pip install 'pave[eval]', or switch them off with --no-plot") from error
    width = max(8.0, 1.1 * len(report.families()) + 2)
    figure = Figure(figsize=(width, 7.5 if curves else 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if curves else 1, 1, squeeze=False)[:, 0]
    _bars(axes[0], report)
    if curves:
        _lines(axes[1], curves)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _bars(axis: Any, report: Report) -> None:
    arms, families = report.arm_names(), report.families()
    width = 0.8 / len(arms)
    for number, arm in enumerate(arms):
        rows = [report.arm(arm, family) for family in families]
        places = [place + (number - (len(arms) - 1) / 2) * width for place in range(len(families))]
        heights = [100 * row.accuracy for row in rows]
        spread = [
            [100 * (row.accuracy - row.ci95[0]) for row in rows],
            [100 * (row.ci95[1] - row.accuracy) for row in rows],
        ]
        colour = _COLOURS[number % len(_COLOURS)]
        axis.bar(places, heights, width * 0.92, yerr=spread, label=arm, color=colour, error_kw={"lw": 1, "capsize": 2})
    names = [f"{TITLES.get(family, family)}\nn={report.arm(arms[0], family).n}" for family in families]
    axis.set_xticks(range(len(families)), names, fontsize=8)
    axis.set(ylim=(0, 105), ylabel="exact match, %", title=f"{report.clips} clips, 95 % intervals")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, ncols=len(arms), loc="upper right")


def _lines(axis: Any, curves: Curves) -> None:
    for number, (name, points) in enumerate(curves.items()):
        # The first colour is the base's, which has no curve.
        colour = _COLOURS[(number + 1) % len(_COLOURS)]
        axis.plot([step for step, _ in points], [loss for _, loss in points], label=name, color=colour)
    axis.set(xlabel="optimiser step", ylabel="training loss", yscale="log")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
