"""Qwen2.5-VL: as Qwen2-VL, but the tower works in windows and positions grow with the seconds between two steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pave.bases.families import qwen2_vl
from pave.bases.families.grids import block_means, grid_merges, layouts, split_grids
from pave.bases.family import Clip
from pave.bases.preprocess import BaseSettings
from pave.bases.visual import Layout, Visual


def window_order(grids: Sequence[Layout], window: int) -> Tensor:
    """`[tokens]` indices: which grid token stands where in the tower's window order.

    Args:
        grids: Token layout of every clip.
        window: Tokens along one side of a window.
    """
    parts, start = [], 0
    for grid in grids:
        index = torch.arange(start, start + grid.total).reshape(grid.t, grid.h, grid.w)
        windows = [
            block.flatten(1)
            for rows in index.split(window, dim=1)
            for block in rows.split(window, dim=2)
        ]
        parts.append(torch.cat(windows, dim=1).flatten())
        start += grid.total
    return torch.cat(parts)


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
) -> list[Visual]:
    """As Qwen2-VL; the tower's last layer is in window order, which is undone before the blocks meet the grid."""
    tower = config.vision_config
    grids = layouts(args["video_grid_thw"], grid_merges(config, args))
    query = None
    if want_query:
        means = block_means(output.last_hidden_state, tower.spatial_merge_size)
        order = window_order(
            grids, tower.window_size // tower.spatial_merge_size // tower.patch_size
        )
        query = means[torch.argsort(order).to(means.device)]
    return split_grids(output.pooler_output, grids, query)


def query_dim(config: Any) -> int:
    """Width of the tower."""
    return int(config.vision_config.hidden_size)


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """As Qwen2-VL, with the seconds of one token step, from which the model computes positions in time."""
    clip = qwen2_vl.prepare(config, options, frames, times)
    gap = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    seconds = torch.tensor([config.vision_config.temporal_patch_size * gap or 1.0])
    return replace(clip, pixels={**clip.pixels, "second_per_grid_ts": seconds})


SPEC = replace(
    qwen2_vl.SPEC,
    name="qwen2_5_vl",
    model_types=("qwen2_5_vl",),
    split=split,
    query_dim=query_dim,
    prepare=prepare,
)

SPECS = (SPEC,)
