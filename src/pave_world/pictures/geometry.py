"""Exact geometry of what the main camera films: depth maps, intrinsics and poses.

A clip has one small `.npz` file of them.

Conventions are ScanNet's, so that an encoder of posed RGB-D frames needs to know no other: world
axes in metres with z up (x to the right, y into the room), camera axes right, down, forward, poses
from camera to world, depth along the optical axis. A `Scene` has y up and z into the room: x, y, z
of the file are x, z, y of the scene.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pave.files import replace_atomically
from pave_world.pictures.backdrop import room_depth
from pave_world.pictures.render import billboards, overlap, render_frames
from pave_world.pictures.sprites import sprite
from pave_world.scenes.scene import Pose, Scene

OPAQUE = 128
"""A pixel belongs to a thing from this alpha on."""


def intrinsics(scene: Scene, size: int) -> NDArray[np.float64]:
    """Camera matrix ``[3, 3]`` for pixel (column, row) with the first pixel's centre at (0, 0).

    Example:
        >>> from pave_world import sample_scene
        >>> intrinsics(sample_scene("scene3d"), 100).tolist()
        [[110.0, 0.0, 49.5], [0.0, 110.0, 49.5], [0.0, 0.0, 1.0]]
    """
    # Pixel centres at whole numbers, as ScanNet has them; the renderer's are half a pixel on.
    focal = scene.camera.focal * size
    centre = (size - 1) / 2
    return np.array([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]])


def camera_to_world(pose: Pose) -> NDArray[np.float64]:
    """Pose as a rigid motion ``[4, 4]``.

    It leads from camera axes (right, down, forward) to the file's world axes (z up).
    """
    cos = np.cos(pose.yaw)
    sin = np.sin(pose.yaw)
    # Columns: where the camera's right, down and forward point in the world, and where it is.
    return np.array(
        [
            [cos, 0.0, sin, pose.x],
            [-sin, 0.0, cos, pose.z],
            [0.0, -1.0, 0.0, pose.y],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def render_depth(scene: Scene, time: float, size: int = 192) -> NDArray[np.float32]:
    """Depth of every pixel of the main camera's picture.

    Args:
        scene: The scene; a screen is not part of the map, so ``"views"`` scenes have none.
        time: Moment in seconds.
        size: Edge of the picture in pixels.

    Returns:
        Metres along the optical axis, ``[size, size]``.
    """
    pose = scene.pose(time)
    depth = room_depth(scene, pose, size)  # [size, size] metres
    things = scene.present(time)
    for spot in billboards(scene, pose, things, size):
        # Billboards come from far to near, so the nearest one is written last.
        image = sprite(spot.name, spot.edge)  # [edge, edge, 4]
        edge = len(image)
        rows, part_rows = overlap(spot.row, edge, size)
        columns, part_columns = overlap(spot.column, edge, size)
        alpha = image[part_rows, part_columns, 3]  # [h, w] of what lies in the picture
        place = depth[rows, columns]  # a view: writing into it writes into the map
        place[alpha >= OPAQUE] = spot.depth
    return depth.astype(np.float32)


def write_scene3d(path: Path, scene: Scene, times: NDArray[np.float64], size: int) -> Path:
    """Write posed RGB-D frames, atomically; the same input gives the same bytes.

    The file holds ``color`` uint8 ``[F, size, size, 3]``, ``depth`` float32 metres ``[F, size,
    size]``, ``intrinsic`` float64 ``[3, 3]``, ``pose`` float64 ``[F, 4, 4]`` camera to world, and
    ``times`` float64 seconds ``[F]``: the names that `pave.channels.scene3d.scene` reads.

    Args:
        path: Where to write, ending in ``.npz``.
        scene: The scene.
        times: Moments in seconds.
        size: Edge of the picture in pixels.
    """
    depths = []
    poses = []
    for time in times.tolist():
        depths.append(render_depth(scene, time, size))
        poses.append(camera_to_world(scene.pose(time)))
    arrays: dict[str, Any] = {
        "color": render_frames(scene, times, size),
        "depth": np.stack(depths),
        "intrinsic": intrinsics(scene, size),
        "pose": np.stack(poses),
        "times": times,
    }

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, numpy would add its own ending
            np.savez_compressed(file, **arrays)

    replace_atomically(path, save)
    return path
