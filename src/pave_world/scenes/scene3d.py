"""Draws scenes whose depth cannot be seen: two or three things in a row.

Each is another whole number of metres away.

The rules that keep the picture silent about depth:

- size in the picture, column and row are drawn first and never look at the distance, which then
  fixes size and place in metres;
- the camera turns on its tripod and does not sway: without parallax, moving a thing along its line
  of sight changes no pixel;
- distances are exchangeable between the slots, and of three things the middle one stands on this or
  that side of the line through the outer two by a fair coin.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from pave_world.scenes.catalog import names
from pave_world.scenes.draw import between, coin, count_of
from pave_world.scenes.layout import EYE, FOCAL, draw_camera, draw_room, draw_row, draw_spot
from pave_world.scenes.scene import Scene, Thing

METRES = (1, 2, 3, 4)
"""Whole distances; a thing stands within `JITTER` of its own, and no two share one."""
JITTER = 0.15
# Lower edge in the picture: even at the greatest distance nothing sinks into the floor.
_LOWEST = 0.85
_CLEAR = 0.2  # metres between the middle thing and the line through the outer two


def scene3d_parts(rng: np.random.Generator, unseen: bool, duration: float) -> dict[str, Any]:
    """Everything of a 3D scene but its name; see the module for the rules."""
    count = count_of(rng, 2, 3)
    # Two known ones remain to be asked about.
    row = draw_row(rng, names("sounding") + names("silent"), count, unseen and count > 2)
    room = draw_room(rng, unseen)
    camera = replace(draw_camera(rng), sway=0.0)
    spots = [_spot(rng, slot, count) for slot in range(count)]
    return {
        "mode": "silent",
        "events": (),
        "room": room,
        "camera": camera,
        "things": _stand(rng, row, spots),
    }


def distance(scene: Scene, thing: Thing) -> float:
    """Metres from the main camera to the middle of a thing."""
    camera = (0.0, scene.camera.height, 0.0)
    middle = (thing.x, thing.y + thing.height / 2, thing.z)
    return math.dist(camera, middle)


def side_of_line(start: Thing, end: Thing, third: Thing) -> float:
    """Signed metres of `third` from the line through the other two on the floor.

    Positive is left when facing `end`.
    """
    ahead = end.z - start.z
    across = end.x - start.x
    cross = across * (third.z - start.z) - ahead * (third.x - start.x)
    return cross / math.hypot(ahead, across)


def _spot(rng: np.random.Generator, slot: int, count: int) -> tuple[float, float, float]:
    """Extent, middle and lower edge in the picture, in image widths."""
    extent, middle = draw_spot(rng, slot, count)
    highest = max(0.55, extent + 0.06)
    lower_edge = between(rng, highest, _LOWEST)
    return extent, middle, lower_edge


def _stand(
    rng: np.random.Generator, row: list[str], spots: list[tuple[float, float, float]]
) -> tuple[Thing, ...]:
    """Give every spot a distance; of three things until the middle one is where the coin says."""
    left = coin(rng)
    while True:
        whole = rng.permutation(METRES)[: len(row)]
        metres = whole + rng.uniform(-JITTER, JITTER, len(row))
        things = []
        for name, spot, far in zip(row, spots, metres.tolist(), strict=True):
            things.append(_put(name, spot, far))
        if len(things) == 2:
            return tuple(things)
        start, middle, end = things
        off = side_of_line(start, end, middle)  # metres, positive on the left
        if abs(off) >= _CLEAR and (off > 0) == left:
            return tuple(things)


def _put(name: str, spot: tuple[float, float, float], far: float) -> Thing:
    """The thing that shows at this spot of the picture from `far` metres away."""
    extent, middle, lower_edge = spot
    # Of the sprite's centre, for one metre along the optical axis.
    right = (middle - 0.5) / FOCAL
    down = (lower_edge - extent / 2 - 0.5) / FOCAL
    depth = far / math.sqrt(1.0 + right * right + down * down)
    height = extent * depth / FOCAL
    y = EYE - down * depth - height / 2
    return Thing(name, right * depth, y, depth, height)
