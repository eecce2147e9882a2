"""Frames of a scene: pin-hole projection of the room and its billboards, in numpy.

They are composed from far to near.

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
        pose = scene.pose(moment, view)
        things = scene.present(moment)
        if (pose, things) == drawn:  # a camera on a tripod, and nothing moved
            frames[number] = frames[number - 1]
            continue
        drawn = (pose, things)
        draw_room(frames[number], scene, pose)
        _draw_things(frames[number], scene, pose, things)
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
    right, up, forward = pose.to_camera(points).T  # [N] metres each
    depth = np.maximum(forward, NEAR)  # no division by what lies behind the camera
    focal = scene.camera.focal * size  # focal lengths are in image widths
    middle = size / 2
    column = middle + focal * right / depth
    row = middle - focal * up / depth  # rows count downwards
    return np.stack([column, row, forward], axis=1)


@dataclass(frozen=True)
class Spot:
    """Where a billboard lies in a picture.

    Attributes:
        name: Its sprite.
        column: Of its centre, in pixels; it may lie outside the picture.
        row: Likewise.
        edge: In pixels.
        depth: Metres along the optical axis.
    """

    name: str
    column: int
    row: int
    edge: int
    depth: float


def billboards(scene: Scene, pose: Pose, things: tuple[Thing, ...], size: int) -> list[Spot]:
    """Those of the things that are in a camera's picture, from far to near."""
    centres = np.empty((len(things), 3))
    for number, thing in enumerate(things):
        middle = thing.y + thing.height / 2
        centres[number] = (thing.x, middle, thing.z)
    projected = project(scene, pose, centres, size)  # [N, 3]
    far_to_near = np.argsort(-projected[:, 2], kind="stable")
    focal = scene.camera.focal * size  # pixels
    spots = []
    for number in far_to_near:
        thing = things[number]
        column, row, depth = projected[number].tolist()
        if depth <= NEAR:  # behind the camera
            continue
        edge = focal * thing.height / depth
        # A sprite whose centre is out of the picture may still reach in.
        reach = (size + edge) / 2 + 1
        aside = max(abs(column - size / 2), abs(row - size / 2))
        if aside >= reach:
            continue
        spots.append(Spot(thing.name, round(column), round(row), round(edge), depth))
    return spots


def _draw_things(
    frame: NDArray[np.uint8], scene: Scene, pose: Pose, things: tuple[Thing, ...]
) -> None:
    """Painter's algorithm: what is behind the screen, the screen, what is in front of it."""
    size = len(frame)
    spots = billboards(scene, pose, things, size)
    if scene.screen is None:
        _draw_spots(frame, spots)
        return
    distance = screen_distance(scene.screen, pose)
    focal = scene.camera.focal * size  # pixels
    _draw_spots(frame, [spot for spot in spots if spot.depth >= distance])
    draw_screen(frame, scene.screen, pose, focal)
    _draw_spots(frame, [spot for spot in spots if spot.depth < distance])


def _draw_spots(frame: NDArray[np.uint8], spots: list[Spot]) -> None:
    """Lay billboards over the frame, each over those before it."""
    for spot in spots:
        image = sprite(spot.name, spot.edge)
        _compose(frame, image, spot.column, spot.row)


def _compose(frame: NDArray[np.uint8], image: NDArray[np.uint8], column: int, row: int) -> None:
    """Lay a premultiplied sprite ``[edge, edge, 4]`` over the frame, centred at (column, row).

    Parts outside are cut off.
    """
    size = len(frame)
    edge = len(image)
    rows, part_rows = overlap(row, edge, size)
    columns, part_columns = overlap(column, edge, size)
    part = image[part_rows, part_columns]  # [h, w, 4]
    place = frame[rows, columns]  # [h, w, 3], a view
    place[:] = _over(part, place)


def _over(part: NDArray[np.uint8], below: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Premultiplied RGBA ``[h, w, 4]`` over RGB ``[h, w, 3]``, in integers."""
    colour = part[..., :3]
    alpha = part[..., 3:].astype(np.uint16)
    mixed = below.astype(np.uint16)  # products of two bytes need 16 bits
    mixed *= 255 - alpha
    # Division by 255, rounded, without leaving 16 bits.
    mixed += 128
    mixed += mixed >> 8
    mixed >>= 8
    mixed += colour
    return np.minimum(mixed, 255)


def overlap(centre: int, edge: int, size: int) -> tuple[slice, slice]:
    """Where a sprite of `edge` pixels lies in an image of `size`.

    Both that place and the part of the sprite may be empty.
    """
    start = centre - edge // 2
    low = min(max(0, start), size)  # a centre far outside leaves both slices empty
    high = max(low, min(size, start + edge))
    return slice(low, high), slice(low - start, high - start)
