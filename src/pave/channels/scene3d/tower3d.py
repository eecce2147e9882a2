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
from pave.channels.registry import register_encoder
from pave.channels.scene3d.geometry import backproject
from pave.channels.scene3d.scene import PosedFrame, open_scene
from pave.channels.tower import Tower, Window, pool
from pave.media import Frames
from pave.tokens import Tokens

COORDINATES = 4
CellPoint = Literal["mean", "nearest"]


class Tower3dSettings(BaseModel):
    """Settings of the 3D encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    frames: int = Field(32, ge=1, le=100_000, description="Frames, spread evenly over the scene.")
    side: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Pool a frame to side x side tokens; the base's own grid when not given.",
    )
    bands: int = Field(
        6, ge=1, le=32, description="Wavelengths of the position code, each half of the one before."
    )
    longest: float = Field(16.0, ge=1e-3, le=1e6, description="The longest wavelength, metres.")
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
    turns = points[..., None] * (2 * math.pi / longest * 2.0 ** torch.arange(bands))
    parts = [points * (2 / longest), turns.sin().flatten(-2), turns.cos().flatten(-2)]
    return torch.cat([*parts, torch.ones_like(points[..., :1])], -1) * known[..., None]


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
    depth = torch.from_numpy(frame.depth).to(torch.float32)
    world = backproject(depth, torch.from_numpy(frame.intrinsic).to(torch.float32), frame.pose)
    height, width = depth.shape
    top, left = round(window.top * height), round(window.left * width)
    bottom, right = (
        top + max(1, round(window.height * height)),
        left + max(1, round(window.width * width)),
    )
    points = torch.cat([world, depth[..., None]], -1)[top:bottom, left:right]
    valid = points[..., 3] > 0
    if cell == "nearest":
        near, pixel = F.adaptive_max_pool2d(
            -points[None, ..., 3].where(valid, torch.inf), grid, return_indices=True
        )
        known = near[0].isfinite()
        return points.flatten(0, 1)[pixel[0]] * known[..., None], known
    weight = valid.to(torch.float32)
    share = F.adaptive_avg_pool2d(weight[None], grid)[0]
    mean = F.adaptive_avg_pool2d((points * weight[..., None]).permute(2, 0, 1)[None], grid)[
        0
    ].permute(1, 2, 0)
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
        for index in scene.evenly(self._set.frames):
            frame = scene.read(index)
            values.append(self._encode(frame))
            times.append(frame.time)
        return Tokens(torch.stack(values), torch.from_numpy(np.array(times)))

    def _encode(self, frame: PosedFrame) -> Tensor:
        """`[S, C]` tokens of one frame."""
        cells = self._tower.cells(
            Frames(frame.pixels[None], torch.tensor([frame.time], dtype=torch.float64))
        ).values
        side = self._set.side
        grid = (cells.shape[1], cells.shape[2]) if side is None else (side, side)
        seen = cells.flatten(1, 2)[0] if side is None else pool(cells, side)[0]
        points, known = cell_points(
            frame, self._tower.window(*frame.pixels.shape[1:]), grid, self._set.cell
        )
        code = position_code(
            points.flatten(0, 1), known.flatten(), self._set.bands, self._set.longest
        )
        return torch.cat([seen, code], 1)
