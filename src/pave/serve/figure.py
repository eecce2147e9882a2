"""One time axis for all that is known of a clip: frames, side channel, attention, residual.

A figure is SVG in HTML, so that it needs no library, no font and no file of its own.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pave.serve.insight import Insight
from pave.texts import counted

LEFT, WIDTH = 70, 900  # of the axis, in units of the drawing
_THUMB = 54  # height of a frame
_WAVE = 60
_MAP = 110
_BARS = 60
_GAP = 26  # between rows, with room for their names
_INK, _SOFT, _MARK = "#1c2430", "#5b6675", "#c2410c"


@dataclass(frozen=True)
class Pictures:
    """Pictures of a channel at their times.

    Attributes:
        title: What they show.
        times: Seconds.
        thumbs: Small JPEG pictures.
    """

    title: str
    times: list[float]
    thumbs: list[bytes]


@dataclass(frozen=True)
class Look:
    """What a worker sees and hears of a clip.

    Attributes:
        times: Seconds of the frames that the base sees.
        thumbs: These frames as small JPEG pictures.
        levels: Loudest sample of each part of the sound; empty for a silent clip.
        duration: Seconds of the clip.
        channels: Pictures of the channels that have some: depth, other cameras, fast frames.
    """

    times: list[float]
    thumbs: list[bytes]
    levels: list[float]
    duration: float
    channels: tuple[Pictures, ...] = ()


def draw(look: Look, insights: Sequence[Insight], heard: str) -> str:
    """The figure.

    Args:
        look: The clip.
        insights: What each patch at work does on it.
        heard: What the row of levels shows, such as "sound".
    """
    # A picture has no length, and needs an axis all the same.
    longest = max([look.duration, *look.times, 0.1])
    top = 20
    parts = [_name(top - 6, f"{counted(len(look.times), 'frame')} that the base sees")]
    parts += _frames(look.times, look.thumbs, longest, top)
    top += _THUMB + _GAP
    for shown in look.channels:
        parts.append(_name(top - 6, shown.title))
        parts += _frames(shown.times, shown.thumbs, longest, top)
        top += _THUMB + _GAP
    parts.append(_name(top - 6, heard if look.levels else f"no {heard}"))
    parts += _levels(look.levels, longest, top)
    top += _WAVE + _GAP
    for insight in insights:
        parts.append(_name(top - 6, f"{insight.patch}: length of the side tokens of each step"))
        parts += _line(insight, longest, top)
        top += _BARS + _GAP
        if insight.attention is not None:
            parts.append(
                _name(top - 6, f"{insight.patch}: where each frame looks (frames down, time right)")
            )
            parts += _map(insight, longest, top)
            top += _MAP + _GAP
        parts.append(_name(top - 6, f"{insight.patch}: residual, in % of the visual tokens"))
        parts += _bars(insight, longest, top)
        top += _BARS + _GAP
    parts += _axis(longest, top - _GAP)
    about = html.escape(_in_words(look, insights), quote=True)
    return (
        f'<div style="overflow-x:auto" tabindex="0" role="group" aria-label="Time axis">'
        f'<svg role="img" aria-label="{about}" viewBox="0 0 {LEFT + WIDTH + 20} {top}" '
        f'style="min-width:560px;width:100%;background:#fff" font-family="sans-serif">'
        f"{''.join(parts)}</svg></div><p>{about}</p>"
    )


def _x(moment: float, longest: float) -> float:
    """Where a moment stands on the axis."""
    return round(LEFT + WIDTH * min(max(moment / longest, 0), 1), 1)


def _name(y: float, text: str) -> str:
    return f'<text x="{LEFT}" y="{y}" font-size="13" fill="{_INK}">{html.escape(text)}</text>'


def _frames(times: Sequence[float], thumbs: Sequence[bytes], longest: float, top: int) -> list[str]:
    """Thumbnails at their times, as many as fit side by side, and a tick for every picture."""
    parts = []
    wide = _THUMB * 16 / 9  # room for the usual shape
    free = float(LEFT)  # right edge of the last one
    for moment, thumb in zip(times, thumbs, strict=True):
        x = _x(moment, longest)
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{top + _THUMB}" y2="{top + _THUMB + 6}" '
            f'stroke="{_MARK}"/>'
        )
        left = min(max(x - wide / 2, LEFT), LEFT + WIDTH - wide)
        if left >= free:
            address = base64.b64encode(thumb).decode()
            parts.append(
                f'<image x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{_THUMB}" '
                f'href="data:image/jpeg;base64,{address}"/>'
            )
            free = left + wide
    return parts


def _levels(levels: Sequence[float], longest: float, top: int) -> list[str]:
    """A wave: the loudest sample of each part, up and down."""
    middle = top + _WAVE / 2  # silence
    loudest = max([*levels, 1e-3])  # fills the row
    points = []
    for number, level in enumerate(levels):
        x = LEFT + WIDTH * number / max(len(levels), 1)
        half = max(level / loudest, 0.01) * _WAVE / 2
        points.append(f"M{x:.1f} {middle - half:.1f}V{middle + half:.1f}")
    return [f'<path d="{"".join(points)}" stroke="{_SOFT}" stroke-width="1.2"/>']


def _line(insight: Insight, longest: float, top: int) -> list[str]:
    """A series on the time axis; a single step is a dot."""
    sizes = insight.side_lengths
    low, high = min(sizes), max(sizes)
    span = (high - low) or 1.0
    points = []
    for moment, size in zip(insight.side_times, sizes, strict=True):
        y = top + _BARS * (1 - (size - low) / span)
        points.append(f"{_x(moment, longest)},{y:.1f}")
    left, above = points[0].split(",")
    return [
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{_MARK}"/>',
        f'<circle cx="{left}" cy="{above}" r="2" fill="{_MARK}"/>',
        f'<text x="{LEFT - 6}" y="{top + 12}" font-size="11" text-anchor="end" fill="{_SOFT}">'
        f"{high:.3g}</text>",
        f'<text x="{LEFT - 6}" y="{top + _BARS}" font-size="11" text-anchor="end" '
        f'fill="{_SOFT}">{low:.3g}</text>',
    ]


def _map(insight: Insight, longest: float, top: int) -> list[str]:
    """The heat map, with each side step as wide as its part of the time."""
    assert insight.attention is not None
    edges = _edges(insight.side_times, longest)
    columns = 600  # pixels of the picture, whatever the number of steps
    moments = (torch.arange(columns) + 0.5) * longest / columns
    step = torch.searchsorted(torch.tensor(edges[1:-1]), moments)  # [columns]
    picture = heat(insight.attention[:, step])
    return [
        f'<image x="{LEFT}" y="{top}" width="{WIDTH}" height="{_MAP}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="{picture}"/>'
    ]


def heat(values: Tensor) -> str:
    """A map `[rows, columns]` as the address of a PNG: white is nothing, dark is each row's most.

    Rows are scaled one by one, since a row of many steps gives little to each.
    """
    most = values.amax(1, keepdim=True).clamp(min=1e-9)
    part = (values / most)[..., None]  # [rows, columns, 1]
    white, dark = torch.tensor([255.0, 255.0, 255.0]), torch.tensor([124.0, 45.0, 18.0])
    pixels = (white + (dark - white) * part).round().to(torch.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(target, "PNG")
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"


def _edges(times: Sequence[float], longest: float) -> list[float]:
    """Where steps begin and end: half-way between their times."""
    edges = [0.0]
    for before, after in zip(times, times[1:], strict=False):
        edges.append((before + after) / 2)
    return [*edges, longest]


def _bars(insight: Insight, longest: float, top: int) -> list[str]:
    """The residual of each frame."""
    sizes = insight.residual.tolist()
    most = max([*sizes, 1e-9])
    wide = max(2.0, 0.6 * WIDTH / max(len(sizes), 1))
    parts = [
        f'<text x="{LEFT - 6}" y="{top + 12}" font-size="11" text-anchor="end" fill="{_SOFT}">'
        f"{100 * most:.3g} %</text>"
    ]
    for moment, size in zip(insight.times, sizes, strict=True):
        high = _BARS * size / most
        left = min(max(_x(moment, longest) - wide / 2, LEFT), LEFT + WIDTH - wide)
        parts.append(
            f'<rect x="{left:.1f}" y="{top + _BARS - high:.1f}" width="{wide:.1f}" '
            f'height="{high:.1f}" fill="{_MARK}"/>'
        )
    return parts


def _axis(longest: float, top: int) -> list[str]:
    parts = [f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{top}" y2="{top}" stroke="{_SOFT}"/>']
    for number in range(6):
        moment = longest * number / 5
        parts.append(
            f'<text x="{_x(moment, longest)}" y="{top + 16}" font-size="11" text-anchor="middle" '
            f'fill="{_SOFT}">{moment:.1f} s</text>'
        )
    return parts


def _in_words(look: Look, insights: Sequence[Insight]) -> str:
    """The figure for those who do not see it."""
    words = [f"{look.duration:.1f} s, {counted(len(look.times), 'frame')}."]
    for insight in insights:
        frame = int(insight.residual.argmax())
        words.append(
            f"Patch {insight.patch} adds most at {insight.times[frame]:.1f} s: "
            f"{100 * float(insight.residual[frame]):.3g} % of the visual tokens."
        )
    return " ".join(words)
