"""The `scene3d/tower3d` encoder: what the base's tower sees, beside where in the world it lies.

No extra weights are needed. Every token of a posed frame is the base's own tower token, followed by
a code of the world position of its cell's depth pixels: their mean, or the nearest one. The fusion
can so tell two things that look alike by their place, and near from far, which a picture alone does
not say.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from pave.cache import Source
from pave.channels.encoder import must_hold_tokens
from pave.channels.places import waves
from pave.channels.registry import register_encoder
from pave.channels.scene3d.geometry import backproject
from pave.channels.scene3d.scene import PosedFrame, open_scene
from pave.channels.tower import Tower, Window, pool
from pave.media import Frames
from pave.tokens import Tokens

COORDINATES = 4  # x, y, z in the world, and depth
CellPoint = Literal["mean", "nearest"]


class Tower3dSettings(BaseModel):
    """Settings of the 3D encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    frames: int = Field(
        32, ge=1, le=100_000, description="Number of frames, spread evenly over the scene."
    )
    side: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Pool a frame to side x side tokens; by default the base's own grid.",
    )
    bands: int = Field(
        6, ge=1, le=32, description="Wavelengths of the position code, each half of the one before."
    )
    longest: float = Field(16.0, ge=1e-3, le=1e6, description="The longest wavelength in metres.")
    cell: CellPoint = Field(
        "mean",
        description="What stands for a cell: the mean of its points, or "
        'the "nearest" one, so that a thing keeps its place.',
    )


def position_code(points: Tensor, known: Tensor, bands: int, longest: float) -> Tensor:
    """Numbers that tell a place.

    Args:
        points: `[..., 4]` metres: x, y, z in the world, distance along the camera's axis.
        known: `[...]` bool, where there was any depth; elsewhere the code is zero.
        bands: Wavelengths.
        longest: The longest one.

    Returns:
        `[..., 4 * (1 + 2 * bands) + 1]`: the coordinates over half of `longest`, their sines, their
        cosines, and `known`.
    """
    # Radians a metre: wavelengths of longest, longest / 2, longest / 4, ...
    rates = 2 * math.pi / longest * 2.0 ** torch.arange(bands)  # [bands]
    parts = [
        points * (2 / longest),
        waves(points, rates),
        torch.ones_like(points[..., :1]),
    ]
    return torch.cat(parts, -1) * known[..., None]


def cell_points(
    frame: PosedFrame, window: Window, grid: tuple[int, int], cell: CellPoint = "mean"
) -> tuple[Tensor, Tensor]:
    """Where the cells of a frame lie.

    Args:
        frame: A posed frame.
        window: The part of the picture that the grid covers.
        grid: Rows and columns.
        cell: The mean over a cell's pixels that have depth, or the nearest of them: the mean of a
            small thing and of the wall far behind it is a place where nothing stands.

    Returns:
        `[rows, columns, 4]` x, y, z in the world and depth, and `[rows, columns]` whether any pixel
        had depth.
    """
    depth = torch.from_numpy(frame.depth).to(torch.float32)  # [h, w]
    intrinsic = torch.from_numpy(frame.intrinsic).to(torch.float32)
    world = backproject(depth, intrinsic, frame.pose)  # [h, w, 3]
    height, width = depth.shape
    # The depth map's pixels that the tower sees, at least one.
    top = round(window.top * height)
    left = round(window.left * width)
    bottom = top + max(1, round(window.height * height))
    right = left + max(1, round(window.width * width))
    points = torch.cat([world, depth[..., None]], -1)[top:bottom, left:right]  # [h', w', 4]
    valid = points[..., 3] > 0
    if cell == "nearest":
        # The largest of the negated depths; a cell of holes gives minus infinity.
        negated = -points[None, ..., 3].where(valid, torch.inf)  # [1, h', w']
        near, pixel = F.adaptive_max_pool2d(negated, grid, return_indices=True)
        known = near[0].isfinite()  # [rows, columns]
        return points.flatten(0, 1)[pixel[0]] * known[..., None], known
    # The mean of valid points is the mean of all, holes being 0, over the share of valid ones.
    weight = valid.to(torch.float32)
    share = F.adaptive_avg_pool2d(weight[None], grid)[0]  # [rows, columns]
    weighted = (points * weight[..., None]).permute(2, 0, 1)  # [4, h', w']
    mean = F.adaptive_avg_pool2d(weighted[None], grid)[0].permute(1, 2, 0)  # [rows, columns, 4]
    return mean / share.clamp_min(1e-9)[..., None], share > 0


@register_encoder("scene3d", "tower3d", Tower3dSettings, needs_tower=True)
class Tower3dEncoder:
    """Tokens `[T, h * w, C + 4 * (1 + 2 * bands) + 1]` of posed frames, at the frames' times.

    Cells stand row by row. Each frame goes through the tower by itself: neighbours in a scene are
    pictures from different places, which a tower that merges frames in time would mix.
    """

    channel = "scene3d"
    name = "tower3d"

    def __init__(self, settings: Tower3dSettings, tower: Tower) -> None:
        self._set = settings
        self._tower = tower

    @property
    def dim(self) -> int:
        """C: the tower's width and the code's."""
        return self._tower.dim + COORDINATES * (1 + 2 * self._set.bands) + 1

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    @property
    def identity(self) -> dict[str, Any]:
        """The settings and the tower."""
        return {**self.settings, "tower": self._tower.digest}

    def encode(self, source: Source) -> Tokens:
        """Tokens of a scene; see `pave.channels.scene3d.scene` for what a source may be."""
        scene = open_scene(source)
        values, times = [], []
        chosen = scene.evenly(self._set.frames)
        if self._set.side is not None:  # else the tower's own few hundred
            must_hold_tokens("scene3d/tower3d", len(chosen), self._set.side**2, self.dim)
        for index in chosen:
            frame = scene.read(index)
            values.append(self._encode(frame))
            times.append(frame.time)
        return Tokens(torch.stack(values), torch.from_numpy(np.array(times)))

    def _encode(self, frame: PosedFrame) -> Tensor:
        """`[S, C]` tokens of one frame."""
        s = self._set
        time = torch.tensor([frame.time], dtype=torch.float64)
        cells = self._tower.cells(Frames(frame.pixels[None], time)).values  # [1, h, w, C]
        if s.side is None:
            grid = (cells.shape[1], cells.shape[2])
            seen = cells.flatten(1, 2)[0]  # [S, C]
        else:
            grid = (s.side, s.side)
            seen = pool(cells, s.side)[0]
        window = self._tower.window(*frame.pixels.shape[1:])
        points, known = cell_points(frame, window, grid, s.cell)
        code = position_code(points.flatten(0, 1), known.flatten(), s.bands, s.longest)
        return torch.cat([seen, code], 1)  # [S, C + code]
