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
from pave_world.scenes.layout import FOCAL, draw_camera, draw_room, pick, slot_middle, stand_in_row
from pave_world.scenes.scene import Pose, Screen, Thing

_HALF_ROOM = 4.0  # metres from the middle to a side wall: room for the cameras
_WIDTH = {2: 0.30, 3: 0.27}
"""Width of the screen as a share of the image width, by the number of slots."""
_SCREEN = "screen"  # stands for the screen in the row of names


def views_parts(rng: np.random.Generator, unseen: bool, duration: float) -> dict[str, Any]:
    """Everything of a scene for several cameras but its name; see the module for the rules."""
    count = int(rng.integers(1, 3))
    row = pick(rng, names("silent"), count)
    if unseen and count > 1:
        row[int(rng.integers(count))] = pick(rng, names("unseen"), 1)[0]
    slot = int(rng.integers(count + 1))  # the screen's place in the row
    row.insert(slot, _SCREEN)
    room = replace(draw_room(rng, unseen), half=_HALF_ROOM, front=-1.0)
    camera, things = draw_camera(rng), stand_in_row(rng, row)
    screen = _screen(rng, slot, len(row))
    behind, rear = _behind(rng, screen)
    outside, side = _outside(rng)
    hidden = int(rng.integers(3))  # how many: none, one or two
    spare = int(
        rng.integers(2)
    )  # of one hidden thing: 0 keeps the one behind the screen, 1 the one beside the camera
    secrets = pick(rng, names("sounding"), 2)
    return {
        "mode": "silent",
        "events": (),
        "room": room,
        "camera": camera,
        "things": tuple(thing for thing in things if thing.name != _SCREEN),
        "screen": screen,
        "behind": replace(behind, name=secrets[0])
        if hidden == 2 or (hidden == 1 and spare == 0)
        else None,
        "outside": replace(outside, name=secrets[1])
        if hidden == 2 or (hidden == 1 and spare == 1)
        else None,
        "cameras": (rear, side),
    }


def _screen(rng: np.random.Generator, slot: int, slots: int) -> Screen:
    depth = float(rng.uniform(4.0, 4.5))  # metres from the main camera
    metres = depth / FOCAL
    width = _WIDTH[slots] * metres
    return Screen(
        (slot_middle(slot, slots) - 0.5) * metres, depth, width, float(rng.uniform(1.0, 1.2))
    )


def _behind(rng: np.random.Generator, screen: Screen) -> tuple[Thing, Pose]:
    """A place behind the screen, and the camera that looks at it from the back of the room."""
    thing = Thing("", screen.x, 0.0, screen.z + 0.25, float(rng.uniform(0.28, 0.34)))
    across, away = float(rng.uniform(-0.03, 0.03)), float(rng.uniform(0.60, 0.66))
    return thing, Pose(screen.x + across, float(rng.uniform(0.20, 0.24)), thing.z + away, math.pi)


def _outside(rng: np.random.Generator) -> tuple[Thing, Pose]:
    """A place beside the main camera, left or right, and the camera that looks at it."""
    # Left or right by a fair coin.
    side = 1.0 if rng.random() < 0.5 else -1.0
    thing = Thing(
        "",
        side * float(rng.uniform(1.9, 2.1)),
        0.0,
        float(rng.uniform(0.4, 0.8)),
        float(rng.uniform(0.6, 0.75)),
    )
    along = thing.z + float(rng.uniform(-0.2, 0.2))
    return thing, Pose(side * 0.4, 0.5, along, side * math.pi / 2)
