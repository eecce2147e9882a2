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
from pave_world.scenes.draw import between, coin, count_of, pick, pick_one, place_in
from pave_world.scenes.layout import EYE, FOCAL, draw_camera, draw_room, draw_row, stand_in_row
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
    mode: Mode = "flash"
    if rng.random() < DASHES:
        mode = "dash"
        transients: tuple[Transient, ...] = (_dash(rng, duration),)
    else:
        transients = _flashes(rng, duration)
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
            f"a clip with {events} needs {SHORTEST:g} seconds or more, got {duration:g}"
        )


def silent_row(rng: np.random.Generator, unseen: bool) -> list[str]:
    """One to three things that make no sound; `unseen` takes one that training never has."""
    count = count_of(rng, 1, 3)
    return draw_row(rng, names("silent"), count, unseen and count > 1)


def gap(number: int, duration: float) -> tuple[float, float]:
    """Start and end of what no taken frame shows, in seconds.

    Frame k of those taken is number ``floor(k (N - 1) / 3)`` of ``N = round(duration * fps)``: its
    time is ``k duration / 3`` or up to ``(k / 2 + 1) / fps`` earlier.
    """
    third = duration / _GAPS  # seconds between two taken frames
    start = number * third + _GUARD
    end = (number + 1) * third - ((number + 1) / 2 + 1) / SLOWEST - _GUARD
    return start, end


def _dash(rng: np.random.Generator, duration: float) -> Transient:
    """A thing that comes and goes between two taken frames, across the whole picture."""
    number = place_in(rng, _GAPS)
    start, end = gap(number, duration)
    # Half-way between two taken frames of some 10 to 25 a second.
    middle = (number + 0.5) * (duration / _GAPS - 0.25 / SLOWEST)
    reach = min(middle - start, end - middle) * between(rng, 0.85, 1.0)
    extent = between(rng, *_EXTENT)
    direction = 1.0 if coin(rng) else -1.0
    # Three quarters of it are in the picture when it comes and goes.
    first = 0.5 - direction * (0.5 + extent / 4)
    name = pick_one(rng, names("sounding"))
    thing = _hover(rng, name, first, extent)
    travel = direction * (1.0 + extent / 2) * _DEPTH / FOCAL  # metres
    return Transient(thing, middle - reach, middle + reach, travel)


def _flashes(rng: np.random.Generator, duration: float) -> tuple[Transient, ...]:
    """One to three things that flash, each in a gap of its own."""
    count = count_of(rng, 1, _GAPS)
    gaps = sorted(rng.permutation(_GAPS)[:count])
    flashes = []
    for number, name in zip(gaps, pick(rng, names("sounding"), count), strict=True):
        start, end = gap(int(number), duration)
        length = (end - start) * between(rng, 0.5, 0.8)  # seconds that a flash lasts
        begin = between(rng, start, end - length)
        middle = _SIDES[place_in(rng, 2)]
        extent = between(rng, *_EXTENT)
        thing = _hover(rng, name, middle, extent)
        flashes.append(Transient(thing, begin, begin + length))
    return tuple(flashes)


def _hover(rng: np.random.Generator, name: str, middle: float, extent: float) -> Thing:
    """A thing in front of the row, in the upper half of the picture, where little of the row is."""
    metres = _DEPTH / FOCAL  # metres an image width at that depth
    centre = between(rng, 0.20, 0.26)  # image heights from the top
    height = extent * metres
    x = (middle - 0.5) * metres
    y = EYE - (centre - 0.5) * metres - height / 2
    return Thing(name, x, y, _DEPTH, height)
