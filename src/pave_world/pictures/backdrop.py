"""What stands behind the sprites: walls, floor and the screen, one ray a column.

In colour, and how far away they are.

All of it is upright, so a column of the picture meets a wall at one distance, and only the row of
the wall's foot tells wall from floor.
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


def draw_room(frame: NDArray[np.uint8], scene: Scene, pose: Pose) -> None:
    """Fill wall and floor."""
    size, room = frame.shape[0], scene.room
    along, across = _walls(room, pose, scene.camera.focal * size, size)  # [size] metres each
    dark = np.floor(across / room.stripe).astype(np.int64) % 2 == 1  # every second stripe
    wall = np.array(room.wall_rgb, dtype=np.float64)
    columns = np.where(dark[:, None], wall * STRIPE_DARKER, wall).astype(np.uint8)
    frame[:] = columns[None]  # [1, size, 3], the same for every row
    # Row where each column's wall meets the floor.
    foot = size / 2 + scene.camera.focal * size * pose.y / along
    upper, lower = (
        int(np.clip(edge, 0, size)) for edge in (np.floor(foot.min()), np.ceil(foot.max()))
    )
    edge_rows = (
        np.arange(upper, lower)[:, None] + 0.5 >= foot[None, :]
    )  # the foot line is slanted while the camera pans
    frame[upper:lower][edge_rows] = room.floor_rgb
    frame[lower:] = room.floor_rgb


def room_depth(scene: Scene, pose: Pose, size: int) -> Floats:
    """Metres along the optical axis to wall or floor, ``[size, size]``."""
    focal = scene.camera.focal * size
    along, _ = _walls(scene.room, pose, focal, size)
    below = np.arange(size) + 0.5 - size / 2  # rows under the horizon, in pixels
    floor = np.full(size, np.inf)
    # Similar triangles: the eye's height over its row.
    floor[below > 0] = focal * pose.y / below[below > 0]
    return np.asarray(np.minimum(along[None, :], floor[:, None]))


def draw_screen(frame: NDArray[np.uint8], screen: Screen, pose: Pose, focal: float) -> None:
    """Lay the screen over what is behind it."""
    inner = replace(screen, width=screen.width - 2 * _RIM, height=screen.height - _RIM)
    for panel, colour in ((screen, RIM_RGB), (inner, SCREEN_RGB)):
        frame[_covered(panel, pose, focal, frame.shape[0])] = colour


def screen_distance(screen: Screen, pose: Pose) -> float:
    """Metres along the optical axis to the middle of the screen's foot."""
    return float(pose.to_camera(np.array([[screen.x, 0.0, screen.z]]))[0, 2])


def _covered(screen: Screen, pose: Pose, focal: float, size: int) -> NDArray[np.bool_]:
    """The pixels that the screen covers, ``[size, size]``."""
    dx, dz = _directions(pose, focal, size)
    along = (screen.z - pose.z) / dz  # where each column's ray meets the plane of the panel
    x = pose.x + along * dx  # [size]
    hit = (along > NEAR) & (np.abs(x - screen.x) <= screen.width / 2)
    along = np.where(hit, along, 1.0)  # rays that miss must not divide by zero
    top, foot = (size / 2 + focal * (pose.y - y) / along for y in (screen.height, 0.0))
    rows = np.arange(size)[:, None] + 0.5
    return np.asarray(hit[None, :] & (rows >= top[None, :]) & (rows < foot[None, :]))


def _directions(pose: Pose, focal: float, size: int) -> tuple[Floats, Floats]:
    """World x and z of each column's ray, for one metre along the optical axis."""
    across = (np.arange(size) + 0.5 - size / 2) / focal  # tangent of each column's angle
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    dx, dz = cos * across + sin, cos - sin * across
    return dx, np.where(np.abs(dz) < _FLAT, _FLAT, dz)


def _walls(room: Room, pose: Pose, focal: float, size: int) -> tuple[Floats, Floats]:
    """For each column: metres along the optical axis to its wall, place on it."""
    dx, dz = _directions(pose, focal, size)
    # A ray along a wall meets it far away, not nowhere.
    dx = np.where(np.abs(dx) < _FLAT, _FLAT, dx)
    ends = np.where(dz > 0, room.depth - pose.z, room.front - pose.z) / dz
    sides = np.where(dx > 0, room.half - pose.x, -room.half - pose.x) / dx
    along = np.minimum(ends, sides)  # a convex room: the first wall is the one that is seen
    return along, np.where(ends <= sides, pose.x + along * dx, pose.z + along * dz)
