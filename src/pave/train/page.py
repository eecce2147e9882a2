"""The page of a run: its curves as plain SVG, in one file that loads nothing.

A browser that shows the page from a disk may read no other file. So the page holds the curves
itself, and asks the browser to load it again every few seconds while the run goes on.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

POINTS = 400
"""Most points of a curve; more would not show, and a page has to stay small in a long run."""
REFRESH = 10
"""Seconds after which a browser loads the page again."""

_WIDTH, _HEIGHT = 560, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 26  # room for the numbers
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626")
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --text: #222; --back: #fff; }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; --back: #181818; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 75rem;
  padding: 0 1rem; color: var(--text); background: var(--back); }
main { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
text { fill: var(--text); font-size: 12px; } dl { display: flex; flex-wrap: wrap; gap: 0 2rem; }
dt { font-weight: 600; } dd { margin: 0; } h1, dd { overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Chart:
    """One figure of the page.

    Attributes:
        title: What it shows.
        curves: Name of a curve -> its column in the log.
    """

    title: str
    curves: Mapping[str, str]


CHARTS = (
    Chart("Loss per answer token", {"loss": "loss"}),
    Chart("Validation score", {"score": "validation"}),
    Chart("Learning rates", {"LoRA": "lr_lora", "fusion": "lr_fusion", "gate": "lr_gate"}),
    Chart("Gradient norm", {"gradient norm": "grad_norm"}),
    Chart("Residual, as a share of the visual tokens", {"residual": "residual_ratio"}),
    Chart("Tokens per second", {"tokens per second": "tokens_per_second"}),
)


def page(
    title: str, facts: Mapping[str, str], rows: Sequence[Mapping[str, Any]], *, live: bool
) -> str:
    """The page as HTML.

    Args:
        title: The run's name.
        facts: What to say above the curves, by name.
        rows: Of the log, with `step`.
        live: Whether the run goes on, so that the page is to be loaded again.

    Example:
        >>> "<svg" in page("a", {}, [{"step": 1, "loss": 2.0}], live=False)
        True
    """
    shown = thinned(rows)
    figures = "\n".join(_figure(chart, shown) for chart in CHARTS)
    said = ""
    for name, value in facts.items():
        # Settings may hold whatever their user typed.
        said += f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
    again = ""
    if live:
        again = f'<meta http-equiv="refresh" content="{REFRESH}">'
    name = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        # Nothing may be loaded, whatever a name in the settings holds.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{again}<title>{name}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{name}</h1><dl>{said}</dl>\n<main>\n{figures}\n</main></body></html>\n"
    )


def thinned(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most `POINTS` of the rows, evenly spread, the last one among them."""
    stride = max(1, math.ceil(len(rows) / POINTS))
    # From the end backwards, so that the newest one is always there.
    return list(rows[::-1][::stride][::-1])


def _figure(chart: Chart, rows: Sequence[Mapping[str, Any]]) -> str:
    """One chart, or nothing where the log has no number for it."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, column in chart.curves.items():
        points = []
        for row in rows:
            value = row.get(column)
            # JSON's NaN reads as a float; a missing rate is None.
            if isinstance(value, (int, float)) and math.isfinite(value):
                points.append((float(row["step"]), float(value)))
        if points:
            curves[name] = points
    if not curves:
        return ""
    drawn = _svg(chart.title, curves)
    return f"<figure><figcaption>{html.escape(chart.title)}</figcaption>{drawn}</figure>"


def _svg(title: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Axes with their ends, a line for each curve, and a legend where there are several."""
    every: list[tuple[float, float]] = []
    for points in curves.values():
        every += points
    across, up = zip(*every, strict=True)
    left, right = min(across), max(across)
    # Zero is always in sight: a loss that falls from 2.1 to 2.0 has not fallen much.
    low, high = min(0.0, *up), max(up)
    # A flat curve, or a single row, would divide by zero.
    wide, tall = (right - left) or 1.0, (high - low) or 1.0
    inner, deep = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    # In SVG y grows downwards.
    def place(point: tuple[float, float]) -> str:
        x = _LEFT + (point[0] - left) / wide * inner
        y = _TOP + (high - point[1]) / tall * deep
        return f"{x:.1f},{y:.1f}"

    floor = _TOP + deep
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<path d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - _RIGHT}" fill="none" stroke="var(--line)"/>',
        _text(_LEFT - 6, _TOP + 10, f"{high:.4g}", "end"),
        _text(_LEFT - 6, floor, f"{low:.4g}", "end"),
        _text(_LEFT, floor + 18, f"step {left:.0f}", "start"),
        _text(_WIDTH - _RIGHT, floor + 18, f"{right:.0f}", "end"),
    ]
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(map(place, points))
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        if len(points) == 1:  # a line of one point is not seen
            x, y = place(points[0]).split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        if len(curves) > 1:
            label = _text(_WIDTH - _RIGHT, _TOP + 12 + 16 * number, name, "end")
            parts.append(label.replace("<text", f'<text style="fill:{colour}"'))
    return "".join([*parts, "</svg>"])


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'
