"""What stands behind the sprites: walls, floor and the screen, in colour and in distance.

There is one ray per column: all of it is upright, so a column of the picture meets a wall at one
distance, and only the row of the wall's foot tells wall from floor.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pave_world.scenes.scene import Pose, Room, Scene, Screen

STRIPE_DARKER = 0.95
"""Brightness of every second wall stripe."""
NEAR = 0.1
"""Nothing nearer than this (metres along the optical axis) is drawn."""
SCREEN_RGB = (236, 234, 226)
RIM_RGB = (64, 60, 58)
"""The screen is a light panel with a dark rim, unlike any wall and floor."""

_RIM = 0.04
_FLAT = 1e-9

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]  # [size, size, 3]


def draw_room(frame: Picture, scene: Scene, pose: Pose) -> None:
    """Fill wall and floor."""
    size = len(frame)
    room = scene.room
    focal = scene.camera.focal * size  # pixels
    along, across = _walls(room, pose, focal, size)  # [size] metres each
    stripe = np.floor(across / room.stripe).astype(np.int64)
    is_dark = stripe % 2 == 1  # [size]
    bright = np.array(room.wall_rgb, dtype=np.float64)
    dark = bright * STRIPE_DARKER
    columns = np.where(is_dark[:, None], dark, bright)  # [size, 3]
    frame[:] = columns.astype(np.uint8)  # the same for every row
    # Row where each column's wall meets the floor: the line is slanted while the camera pans.
    foot = size / 2 + focal * pose.y / along  # [size]
    upper = int(np.clip(np.floor(foot.min()), 0, size))
    lower = int(np.clip(np.ceil(foot.max()), 0, size))
    strip = frame[upper:lower]  # the rows that hold wall and floor
    is_floor = _row_centres(size)[upper:lower] >= foot
    strip[is_floor] = room.floor_rgb
    frame[lower:] = room.floor_rgb


def room_depth(scene: Scene, pose: Pose, size: int) -> Floats:
    """Metres along the optical axis to wall or floor, ``[size, size]``."""
    focal = scene.camera.focal * size
    along, _ = _walls(scene.room, pose, focal, size)
    below = _row_centres(size) - size / 2  # [size, 1] pixels under the horizon
    is_below = below > 0
    floor = np.full_like(below, np.inf)
    # Similar triangles: the eye's height over its row.
    floor[is_below] = focal * pose.y / below[is_below]
    nearest: Floats = np.minimum(along, floor)
    return nearest


def draw_screen(frame: Picture, screen: Screen, pose: Pose, focal: float) -> None:
    """Lay the screen over what is behind it."""
    width = screen.width - 2 * _RIM
    height = screen.height - _RIM
    panel = replace(screen, width=width, height=height)
    rim_pixels = _covered(screen, pose, focal, len(frame))
    frame[rim_pixels] = RIM_RGB
    panel_pixels = _covered(panel, pose, focal, len(frame))
    frame[panel_pixels] = SCREEN_RGB


def screen_distance(screen: Screen, pose: Pose) -> float:
    """Metres along the optical axis to the middle of the screen's foot."""
    middle = np.array([[screen.x, 0.0, screen.z]])
    _, _, forward = pose.to_camera(middle)[0]
    return float(forward)


def _row_centres(size: int) -> Floats:
    """``[size, 1]`` pixels from the upper edge of the picture."""
    rows = np.arange(size, dtype=np.float64)
    return rows[:, None] + 0.5


def _covered(screen: Screen, pose: Pose, focal: float, size: int) -> Mask:
    """The pixels that the screen covers, ``[size, size]``."""
    dx, dz = _directions(pose, focal, size)
    along = (screen.z - pose.z) / dz  # where each column's ray meets the plane of the panel
    x = pose.x + along * dx  # [size]
    is_ahead = along > NEAR
    is_within = np.abs(x - screen.x) <= screen.width / 2
    hits = is_ahead & is_within
    along = np.where(hits, along, 1.0)  # rays that miss must not divide by zero
    top = size / 2 + focal * (pose.y - screen.height) / along
    foot = size / 2 + focal * pose.y / along
    rows = _row_centres(size)
    covered: Mask = hits & (rows >= top) & (rows < foot)
    return covered


def _directions(pose: Pose, focal: float, size: int) -> tuple[Floats, Floats]:
    """World x and z of each column's ray, for one metre along the optical axis."""
    columns = np.arange(size) + 0.5 - size / 2  # pixels from the middle
    across = columns / focal  # tangent of each column's angle
    cos = np.cos(pose.yaw)
    sin = np.sin(pose.yaw)
    dx = cos * across + sin
    dz = cos - sin * across
    return dx, _not_flat(dz)


def _not_flat(direction: Floats) -> Floats:
    """A ray along a wall meets it far away, not nowhere."""
    return np.where(np.abs(direction) < _FLAT, _FLAT, direction)


def _walls(room: Room, pose: Pose, focal: float, size: int) -> tuple[Floats, Floats]:
    """For each column: metres along the optical axis to its wall, place on it."""
    dx, dz = _directions(pose, focal, size)
    dx = _not_flat(dx)
    # The wall that a ray meets on either axis.
    end = np.where(dz > 0, room.depth, room.front)
    side = np.where(dx > 0, room.half, -room.half)
    to_end = (end - pose.z) / dz
    to_side = (side - pose.x) / dx
    along = np.minimum(to_end, to_side)  # a convex room: the first wall is the one that is seen
    x = pose.x + along * dx
    z = pose.z + along * dz
    place = np.where(to_end <= to_side, x, z)
    return along, place
