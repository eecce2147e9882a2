"""Draws scenes for several cameras: a row with a screen in it, and things that it hides.

Something may stand behind the screen, and something beside the main camera.

The rules that keep the main picture silent about what it does not show:

- how many things are hidden (none, one, two) and where is drawn apart from what is seen;
- what may be hidden comes from the sounding names, what is seen from the others, so no name is seen
  and asked for as hidden;
- two further cameras are always there, whether or not they have something to show: the first looks
  at the back of the screen from so near that it sees nothing else, the second looks to the side of
  the main camera.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from pave_world.scenes.catalog import names
from pave_world.scenes.draw import between, coin, count_of, pick, place_in
from pave_world.scenes.layout import (
    FOCAL,
    draw_camera,
    draw_room,
    draw_row,
    slot_middle,
    stand_in_row,
)
from pave_world.scenes.scene import Pose, Screen, Thing

_HALF_ROOM = 4.0  # metres from the middle to a side wall: room for the cameras
_WIDTH = {2: 0.30, 3: 0.27}
"""Width of the screen as a share of the image width, by the number of slots."""
_SCREEN = "screen"  # stands for the screen in the row of names


def views_parts(rng: np.random.Generator, unseen: bool, duration: float) -> dict[str, Any]:
    """Everything of a scene for several cameras but its name; see the module for the rules."""
    count = count_of(rng, 1, 2)
    row = draw_row(rng, names("silent"), count, unseen and count > 1)
    slot = place_in(rng, count + 1)  # the screen's place in the row
    row.insert(slot, _SCREEN)
    room = replace(draw_room(rng, unseen), half=_HALF_ROOM, front=-1.0)
    camera = draw_camera(rng)
    things = stand_in_row(rng, row)
    screen = _screen(rng, slot, len(row))
    behind, rear = _behind(rng, screen)
    outside, side = _outside(rng)
    hides_behind, hides_outside = _hiding(rng)
    first, second = pick(rng, names("sounding"), 2)
    return {
        "mode": "silent",
        "events": (),
        "room": room,
        "camera": camera,
        "things": tuple(thing for thing in things if thing.name != _SCREEN),
        "screen": screen,
        "behind": replace(behind, name=first) if hides_behind else None,
        "outside": replace(outside, name=second) if hides_outside else None,
        "cameras": (rear, side),
    }


def _hiding(rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether something is behind the screen, and whether something is beside the camera."""
    hidden = place_in(rng, 3)  # how many things: none, one or two
    outside = place_in(rng, 2) == 1  # where a single one is; drawn for any number
    if hidden == 1:
        return not outside, outside
    return hidden == 2, hidden == 2


def _screen(rng: np.random.Generator, slot: int, slots: int) -> Screen:
    """The screen in its slot of the picture."""
    depth = between(rng, 4.0, 4.5)  # metres from the main camera
    metres = depth / FOCAL  # width of the image at this depth
    middle = slot_middle(slot, slots)
    height = between(rng, 1.0, 1.2)
    return Screen((middle - 0.5) * metres, depth, _WIDTH[slots] * metres, height)


def _behind(rng: np.random.Generator, screen: Screen) -> tuple[Thing, Pose]:
    """A place behind the screen, and the camera that looks at it from the back of the room."""
    height = between(rng, 0.28, 0.34)
    thing = Thing("", screen.x, 0.0, screen.z + 0.25, height)
    across = between(rng, -0.03, 0.03)
    away = between(rng, 0.60, 0.66)
    eye = between(rng, 0.20, 0.24)
    return thing, Pose(screen.x + across, eye, thing.z + away, math.pi)


def _outside(rng: np.random.Generator) -> tuple[Thing, Pose]:
    """A place beside the main camera, left or right, and the camera that looks at it."""
    side = 1.0 if coin(rng) else -1.0
    across = side * between(rng, 1.9, 2.1)
    depth = between(rng, 0.4, 0.8)
    height = between(rng, 0.6, 0.75)
    thing = Thing("", across, 0.0, depth, height)
    along = depth + between(rng, -0.2, 0.2)
    return thing, Pose(side * 0.4, 0.5, along, side * math.pi / 2)
