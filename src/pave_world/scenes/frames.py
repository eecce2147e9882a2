"""Draws scenes with fast events, which fall between the frames that a base takes.

Things flash, or one dashes across.

A base that takes `TAKEN` evenly spread frames (`pave.media.Uniform`) sees the row and nothing else:
every event lies in a gap between two of those frames, at any frame rate of `SLOWEST` or more. The
rules that keep the taken frames silent about the gaps:

- what flashes comes from the sounding names, what stands in the row from the others;
- one, two or three things flash (a third each) in gaps drawn apart from the row; left or right is a
  fair coin, as is the direction of a dash;
- a dash is in the middle of its gap just when one taken frame's half of the gap ends and the next
  one's begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pave.errors import ConfigError
from pave_world.scenes.catalog import names
from pave_world.scenes.layout import EYE, FOCAL, draw_camera, draw_room, pick, stand_in_row
from pave_world.scenes.scene import Mode, Thing, Transient

TAKEN = 4
"""Evenly spread frames that show no event."""
SLOWEST = 10.0
"""Lowest frame rate at which that holds."""
SHORTEST = 2.0
"""Shortest clip in seconds that has room for events."""
DASHES = 0.3
"""Share of the clips in which something dashes across instead of flashing."""

_GUARD = 0.02  # seconds kept free at both ends of a gap
_DEPTH = 2.2  # metres from the camera, in front of every row
_SIDES = (0.26, 0.74)  # middle of a flash in image widths, left and right
_EXTENT = (0.32, 0.38)  # size of a flash in image widths
_GAPS = TAKEN - 1


def frames_parts(rng: np.random.Generator, unseen: bool, duration: float) -> dict[str, Any]:
    """Everything of a scene with fast events but its name; see the module for the rules.

    Raises:
        ConfigError: The clip is shorter than `SHORTEST`.
    """
    must_have_gaps(duration, "flashes")
    row = silent_row(rng, unseen)
    room = draw_room(rng, unseen)
    camera = draw_camera(rng)
    things = stand_in_row(rng, row)
    mode: Mode = "dash" if rng.random() < DASHES else "flash"
    transients = (_dash(rng, duration),) if mode == "dash" else _flashes(rng, duration)
    return {
        "mode": mode,
        "events": (),
        "room": room,
        "camera": camera,
        "things": things,
        "transients": transients,
    }


def must_have_gaps(duration: float, events: str) -> None:
    """Refuse a clip that is too short for events between its frames.

    Raises:
        ConfigError: The clip is shorter than `SHORTEST`.
    """
    if duration < SHORTEST:
        raise ConfigError(
            f"A clip with {events} needs {SHORTEST:g} seconds or more, got {duration:g}"
        )


def silent_row(rng: np.random.Generator, unseen: bool) -> list[str]:
    """One to three things that make no sound; `unseen` takes one that training never has."""
    count = int(rng.integers(1, 4))
    row = pick(rng, names("silent"), count)
    if unseen and count > 1:
        row[int(rng.integers(count))] = pick(rng, names("unseen"), 1)[0]
    return row


def gap(number: int, duration: float) -> tuple[float, float]:
    """Start and end of what no taken frame shows, in seconds.

    Frame k of those taken is number ``floor(k (N - 1) / 3)`` of ``N = round(duration * fps)``: its
    time is ``k duration / 3`` or up to ``(k / 2 + 1) / fps`` earlier.
    """
    third = duration / _GAPS  # seconds between two taken frames
    return number * third + _GUARD, (number + 1) * third - ((number + 1) / 2 + 1) / SLOWEST - _GUARD


def _dash(rng: np.random.Generator, duration: float) -> Transient:
    number = int(rng.integers(_GAPS))
    start, end = gap(number, duration)
    middle = (number + 0.5) * (
        duration / _GAPS - 0.25 / SLOWEST
    )  # half-way between two taken frames of some 10 to 25 a second
    reach = min(middle - start, end - middle) * float(rng.uniform(0.85, 1.0))
    extent = float(rng.uniform(*_EXTENT))
    direction = 1.0 if rng.random() < 0.5 else -1.0
    first = 0.5 - direction * (
        0.5 + extent / 4
    )  # three quarters of it are in the picture when it comes and goes
    thing = _hover(rng, pick(rng, names("sounding"), 1)[0], first, extent)
    return Transient(
        thing, middle - reach, middle + reach, direction * (1.0 + extent / 2) * _DEPTH / FOCAL
    )


def _flashes(rng: np.random.Generator, duration: float) -> tuple[Transient, ...]:
    count = int(rng.integers(1, _GAPS + 1))
    flashes = []
    for number, name in zip(
        sorted(rng.permutation(_GAPS)[:count]), pick(rng, names("sounding"), count), strict=True
    ):
        start, end = gap(int(number), duration)
        length = (end - start) * float(rng.uniform(0.5, 0.8))  # seconds that a flash lasts
        begin = float(rng.uniform(start, end - length))
        thing = _hover(rng, name, _SIDES[int(rng.integers(2))], float(rng.uniform(*_EXTENT)))
        flashes.append(Transient(thing, begin, begin + length))
    return tuple(flashes)


def _hover(rng: np.random.Generator, name: str, middle: float, extent: float) -> Thing:
    """A thing in front of the row, in the upper half of the picture, where little of the row is."""
    metres = _DEPTH / FOCAL  # metres an image width at that depth
    centre = float(rng.uniform(0.20, 0.26))  # image heights from the top
    height = extent * metres
    return Thing(
        name, (middle - 0.5) * metres, EYE - (centre - 0.5) * metres - height / 2, _DEPTH, height
    )
