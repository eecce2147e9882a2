"""Frames of a scene: pin-hole projection of the room and its billboards.

Composed from far to near in numpy.

Every camera is drawn by the same code: a billboard faces the camera that films it. What the main
camera cannot see is drawn for it all the same, and then covered by the screen or cut off at the
border.

A 192 x 192 frame takes well under a millisecond, because sprites are cached by (name, size) and
composed in integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pave_world.pictures.backdrop import NEAR, draw_room, draw_screen, screen_distance
from pave_world.pictures.sprites import sprite
from pave_world.scenes.scene import Pose, Scene, Thing


def frame_times(duration: float, fps: float) -> NDArray[np.float64]:
    """Times of the frames of a clip in seconds: frame i starts at i / fps.

    Example:
        >>> frame_times(0.5, 10).tolist()
        [0.0, 0.1, 0.2, 0.3, 0.4]
    """
    return np.arange(max(1, round(duration * fps))) / fps


def render_frames(
    scene: Scene, times: Iterable[float], size: int = 192, view: int = 0
) -> NDArray[np.uint8]:
    """Film a scene.

    Args:
        scene: The scene.
        times: Moments in seconds.
        size: Edge of the square image in pixels.
        view: Which camera: 0 is the main one, 1 and up are the further ones of a ``"views"`` scene.

    Returns:
        Frames ``[F, size, size, 3]``, RGB.

    Raises:
        ConfigError: A wheel of the world is missing.
    """
    moments = list(times)
    frames = np.empty((len(moments), size, size, 3), dtype=np.uint8)
    drawn: tuple[Pose, tuple[Thing, ...]] | None = None
    for number, moment in enumerate(moments):
        wanted = scene.pose(moment, view), scene.present(moment)
        if wanted == drawn:  # a camera on a tripod, and nothing moved
            frames[number] = frames[number - 1]
            continue
        drawn = wanted
        draw_room(frames[number], scene, wanted[0])
        _draw_things(frames[number], scene, *wanted)
    return frames


def project(
    scene: Scene, pose: Pose, points: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Project world points.

    Args:
        scene: The scene, for its camera.
        pose: Where the camera is.
        points: World points ``[N, 3]`` in metres.
        size: Edge of the image in pixels.

    Returns:
        ``[N, 3]``: column and row in pixels (row 0 on top), and depth in metres along the optical
        axis.
    """
    seen = pose.to_camera(points)  # [N, 3] right, up, forward
    depth = np.maximum(seen[:, 2], NEAR)  # no division by what lies behind the camera
    focal = scene.camera.focal * size  # focal lengths are in image widths
    return np.stack(
        [size / 2 + focal * seen[:, 0] / depth, size / 2 - focal * seen[:, 1] / depth, seen[:, 2]],
        axis=1,
    )


@dataclass(frozen=True)
class Spot:
    """Where a billboard lies in a picture: column and row of its centre and edge in pixels.

    Metres along the optical axis.
    """

    name: str
    column: int
    row: int
    edge: int
    depth: float


def billboards(scene: Scene, pose: Pose, things: tuple[Thing, ...], size: int) -> list[Spot]:
    """Those of the things that are in a camera's picture, from far to near."""
    centres = np.array([[thing.x, thing.y + thing.height / 2, thing.z] for thing in things])
    projected = project(scene, pose, centres.reshape(-1, 3), size)  # [N, 3]
    spots = []
    for number in np.argsort(-projected[:, 2], kind="stable"):
        column, row, depth = (float(value) for value in projected[number])
        edge = scene.camera.focal * size * things[number].height / max(depth, NEAR)
        # A sprite whose centre is out of the picture may still reach in.
        reach = (size + edge) / 2 + 1
        if depth > NEAR and abs(column - size / 2) < reach and abs(row - size / 2) < reach:
            spots.append(Spot(things[number].name, round(column), round(row), round(edge), depth))
    return spots


def _draw_things(
    frame: NDArray[np.uint8], scene: Scene, pose: Pose, things: tuple[Thing, ...]
) -> None:
    size = frame.shape[0]
    screen, distance = (
        scene.screen,
        -np.inf if scene.screen is None else screen_distance(scene.screen, pose),
    )
    # Painter's algorithm: behind the screen, the screen, in front of it.
    spots = billboards(scene, pose, things, size)
    for spot in (spot for spot in spots if spot.depth >= distance):
        _compose(frame, sprite(spot.name, spot.edge), spot.column, spot.row)
    if screen is not None:
        draw_screen(frame, screen, pose, scene.camera.focal * size)
    for spot in (spot for spot in spots if spot.depth < distance):
        _compose(frame, sprite(spot.name, spot.edge), spot.column, spot.row)


def _compose(frame: NDArray[np.uint8], image: NDArray[np.uint8], column: int, row: int) -> None:
    """Lay a premultiplied sprite over the frame with its centre at (column, row).

    Parts outside are cut off.
    """
    size = frame.shape[0]
    rows, part_rows = overlap(row, image.shape[0], size)
    columns, part_columns = overlap(column, image.shape[1], size)
    part = image[part_rows, part_columns]  # [h, w, 4] premultiplied RGBA
    below = frame[rows, columns].astype(np.uint16)  # [h, w, 3]; products of two bytes need 16 bits
    below *= 255 - part[..., 3:].astype(np.uint16)
    below += 128
    below += below >> 8  # with the shift below: division by 255, rounded, without leaving 16 bits
    below >>= 8
    below += part[..., :3]
    frame[rows, columns] = np.minimum(below, 255)


def overlap(centre: int, edge: int, size: int) -> tuple[slice, slice]:
    """Where a sprite of `edge` pixels lies in an image of `size`.

    Both that place and the part of the sprite may be empty.
    """
    start = centre - edge // 2
    low = min(max(0, start), size)  # a centre far outside leaves both slices empty
    high = max(low, min(size, start + edge))
    return slice(low, high), slice(low - start, high - start)
