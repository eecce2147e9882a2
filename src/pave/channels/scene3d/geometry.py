"""Pin-hole geometry: from depth maps and poses to points in the world, as LLaVA-3D computes them.

Source: LLaVA-3D `video_encoder.py`, `video_processor.py`. u is the column, v the row of a pixel,
both counted from 0 without a half pixel; a pose takes camera coordinates (x right, y down, z
forward) to the world; lengths are metres.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Matrix = npt.NDArray[np.float64]


def backproject(depth: Tensor, intrinsic: Tensor, pose: Tensor) -> Tensor:
    """World coordinates of every pixel.

    A pixel without depth (0) becomes the camera's own position: nothing is masked here.

    Args:
        depth: `[..., H, W]` metres.
        intrinsic: `[..., 4, 4]` (or 3 x 3) with fx, fy, cx, cy for this depth map.
        pose: `[..., 4, 4]` camera to world.

    Returns:
        `[..., H, W, 3]`.
    """
    height, width = depth.shape[-2:]
    v = torch.arange(height)[:, None]  # [H, 1], row of every pixel
    u = torch.arange(width)  # [W], column
    numbers = intrinsic[..., None, None]  # [..., 4, 4, 1, 1], to go with a picture
    fx = numbers[..., 0, 0, :, :]  # pixels
    fy = numbers[..., 1, 1, :, :]
    cx = numbers[..., 0, 2, :, :]
    cy = numbers[..., 1, 2, :, :]
    # Metres to the right of the camera's axis and below it, [..., H, W] each.
    x = (u - cx) * depth / fx
    y = (v - cy) * depth / fy
    one = torch.ones_like(depth)  # what the pose's translation is multiplied with
    camera = torch.stack([x, y, depth, one], dim=-1)  # [..., H, W, 4]
    world = torch.einsum("...ij,...hwj->...hwi", pose, camera)
    return world[..., :3]


def patch_points(points: Tensor, grid: tuple[int, int]) -> Tensor:
    """The point of each cell of a grid: its top-left pixel, not its centre.

    That is LLaVA-3D's `nearest` interpolation.

    Args:
        points: `[V, H, W, 3]`.
        grid: Rows and columns of cells.

    Returns:
        `[V, rows, columns, 3]`.
    """
    picture = points.permute(0, 3, 1, 2)  # [V, 3, H, W]
    picked = F.interpolate(picture, grid, mode="nearest")  # [V, 3, rows, columns]
    return picked.permute(0, 2, 3, 1)


def resized(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height with the shorter side at `side`, the longer rounded down."""
    shorter = min(width, height)
    ratio = side / shorter
    if width <= height:
        return side, int(height * ratio)
    return int(width * ratio), side


def fit_depth(raw: npt.NDArray[np.generic], side: int, scale: float = 1000.0) -> Matrix:
    """A raw depth map at the size of the tower's picture, in metres.

    The nearest neighbour of each pixel, the shorter side at `side`, then the centre.

    Args:
        raw: `[H, W]`, millimetres for `scale` 1000 (ScanNet), quarters of them for 4000
            (Matterport).
        side: Pixels of the result's sides.
        scale: Raw units in a metre.

    Returns:
        `[side, side]` float64.
    """
    height, width = raw.shape
    wide, high = resized(width, height, side)
    rows = _nearest(height, high, side)
    columns = _nearest(width, wide, side)
    strip = raw[rows]
    square = strip[:, columns]  # [side, side]
    return np.asarray(square, dtype=np.float64) / scale


def _nearest(have: int, want: int, side: int) -> npt.NDArray[np.int64]:
    """Of the middle `side` of `want` pixels, those of `have` that hold their centres: `[side]`."""
    start = round((want - side) / 2)
    pixels = np.arange(start, start + side)
    centres = (pixels + 0.5) * have / want
    return np.floor(centres).astype(np.int64)


def fit_intrinsic(matrix: npt.NDArray[np.generic], width: int, height: int, side: int) -> Matrix:
    """Intrinsics that go with `fit_depth`.

    For pictures higher than wide cx is moved although rows are cut: the authors' mistake, kept,
    since their weights saw it.

    Args:
        matrix: 4 x 4 (or 3 x 3) of the depth map as it is stored; left as it is.
        width: Of the stored depth map.
        height: Of the stored depth map.
        side: Pixels of the result's sides.
    """
    found = np.array(matrix, dtype=np.float64)
    wide, high = resized(width, height, side)
    found[0] /= width / wide  # fx and cx
    found[1] /= height / high  # fy and cy
    found[0, 2] -= (wide - high) / 2  # negative for a high picture, whose cy should move
    return found
