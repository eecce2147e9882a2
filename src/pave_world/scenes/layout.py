"""What scenes of every kind are drawn from: names, rooms, cameras, and rows of things.

A row stands side by side in the picture.
"""

from __future__ import annotations

import numpy as np

from pave_world.scenes.catalog import FLOORS, WALLS, Rgb, names
from pave_world.scenes.draw import between, pick, pick_one, place_in
from pave_world.scenes.scene import Camera, Room, Thing

FOCAL = 1.1
"""Focal length of every camera in image widths."""
EYE = 1.4
"""Height of the main camera in metres."""
MARGIN = 0.05
"""Share of the image width left free on both sides of a row."""

_SHADES = (0.85, 1.0)  # factors of a colour, from and to
_UNSEEN_SHADES = (0.72, 0.85)
_EXTENT = {1: (0.34, 0.64), 2: (0.28, 0.42), 3: (0.23, 0.29), 4: (0.19, 0.22)}
"""Edge of a sprite as a share of the image width, by the number of things in the row."""


def draw_row(
    rng: np.random.Generator, pool: tuple[str, ...], count: int, unseen: bool
) -> list[str]:
    """Draw the names of a row, all different; `unseen` takes one that training never has."""
    row = pick(rng, pool, count)
    if unseen:
        row[place_in(rng, count)] = pick_one(rng, names("unseen"))
    return row


def draw_room(rng: np.random.Generator, unseen: bool) -> Room:
    """Draw wall, floor and depth; `unseen` takes a shade of the wall that training never has."""
    wall = str(rng.choice(np.array(list(WALLS))))
    darkest, lightest = _SHADES
    if unseen:
        darkest, lightest = _UNSEEN_SHADES
    shade = between(rng, darkest, lightest)
    floor = FLOORS[place_in(rng, len(FLOORS))]
    floor_shade = between(rng, *_SHADES)
    return Room(
        wall=wall,
        wall_rgb=_scaled(WALLS[wall], shade),
        floor_rgb=_scaled(floor, floor_shade),
        depth=between(rng, 5.6, 6.6),
        stripe=between(rng, 0.3, 0.9),
    )


def _scaled(colour: Rgb, factor: float) -> Rgb:
    red, green, blue = (round(part * factor) for part in colour)
    return red, green, blue


def draw_camera(rng: np.random.Generator) -> Camera:
    """Draw the slow motion of the main camera."""
    return Camera(
        focal=FOCAL,
        height=EYE,
        sway=between(rng, 0.03, 0.12),  # metres
        pan=float(np.deg2rad(between(rng, 0.3, 1.2))),
        period=between(rng, 4.0, 9.0),  # seconds
        phase=between(rng, 0.0, 2 * np.pi),
    )


def stand_in_row(rng: np.random.Generator, row: list[str]) -> tuple[Thing, ...]:
    """Stand the row in the room: each thing gets a slot of the picture, then a place in space."""
    things = []
    for slot, name in enumerate(row):
        depth = between(rng, 3.0, 5.2)
        metres = depth / FOCAL  # width of the image at this depth
        extent, middle = draw_spot(rng, slot, len(row))
        highest = max(0.55, extent + 0.06)
        lower_edge = between(rng, highest, 0.94)  # image heights from the top
        x = (middle - 0.5) * metres
        y = max(0.0, EYE - (lower_edge - 0.5) * metres)
        things.append(Thing(name, x, y, depth, height=extent * metres))
    return tuple(things)


def draw_spot(rng: np.random.Generator, slot: int, count: int) -> tuple[float, float]:
    """Extent of a sprite and its middle, in image widths, within slot `slot` of `count`."""
    extent = between(rng, *_EXTENT[count])
    room = max(0.0, 0.9 / count - extent) / 2  # to either side
    middle = slot_middle(slot, count) + between(rng, -room, room)
    return extent, middle


def slot_middle(slot: int, count: int) -> float:
    """Middle of a slot, in image widths from the left."""
    return MARGIN + 0.9 * (slot + 0.5) / count
