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
    # Row and column of every pixel, [H, W] each.
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    fx = intrinsic[..., 0, 0, None, None]  # [..., 1, 1] pixels
    fy = intrinsic[..., 1, 1, None, None]
    cx = intrinsic[..., 0, 2, None, None]
    cy = intrinsic[..., 1, 2, None, None]
    x = (u - cx) * depth / fx  # [..., H, W] metres to the right of the camera's axis
    y = (v - cy) * depth / fy  # below it
    camera = torch.stack([x, y, depth, torch.ones_like(depth)], -1)  # [..., H, W, 4]
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
    ratio = side / min(width, height)
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
    # Of each pixel of the smaller map, the pixel of the raw one that holds its centre.
    row_centres = (np.arange(high) + 0.5) * height / high
    column_centres = (np.arange(wide) + 0.5) * width / wide
    rows = np.floor(row_centres).astype(np.int64)  # [high]
    columns = np.floor(column_centres).astype(np.int64)  # [wide]
    top = round((high - side) / 2)
    left = round((wide - side) / 2)
    rows = rows[top : top + side]
    columns = columns[left : left + side]
    picked = raw[rows][:, columns]  # [side, side]
    return np.asarray(picked, dtype=np.float64) / scale


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
