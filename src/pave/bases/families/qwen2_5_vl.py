"""Qwen2.5-VL: as Qwen2-VL, but for a tower that works in windows, and time in seconds.

The tower attends within windows of 112 x 112 pixels, for which it sorts the tokens by window;
positions along the time axis grow with the seconds between two steps. Tokens come out in the order
step, row, column, since the model undoes the windows behind the merger, while the tower's last
layer is still sorted by window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.grids import (
    block_means,
    join_grids,
    patches_of,
    qwen2_clip,
    qwen2_settings,
    split_grids,
    token_grids,
)
from pave.bases.families.qwen2_vl import STYLE
from pave.bases.family import Family
from pave.bases.settings import BaseSettings
from pave.bases.visual import Clip, Layout, Visual


@register_family
class Qwen25VL(Family):
    """See the module's text."""

    name = "qwen2_5_vl"
    model_types = ("qwen2_5_vl",)
    placeholder = "<|video_pad|>"
    style = STYLE
    old_limits = True
    # Templates open and close the span themselves, with one token in it.
    video_text = "<|vision_start|><|video_pad|><|vision_end|>"
    mrope = True

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one token step."""
        return int(self.config.vision_config.temporal_patch_size)

    def settings(self) -> BaseSettings:
        """32 frames within the reference's pixel limits of a frame and of a clip."""
        return qwen2_settings()

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """As Qwen2-VL, with the seconds of one token step, which positions in time come from."""
        clip = qwen2_clip(self.config, settings, frames, times)
        seconds = step_seconds(times, self.frames_per_step)
        return replace(clip, pixels={**clip.pixels, "second_per_grid_ts": seconds})

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """As Qwen2-VL, once the blocks of the last layer are out of window order again."""
        return split_windows(self.config, output, args["video_grid_thw"], want_query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip."""
        return join_grids(visuals, output)


def step_seconds(times: Tensor, step: int) -> Tensor:
    """`[1]` seconds from one token step to the next, on average.

    Args:
        times: `[F]` seconds of the frames.
        step: Frames a token step.
    """
    gap = 0.0
    if len(times) > 1:
        gap = float(times[-1] - times[0]) / (len(times) - 1)
    # A single frame, or frames of one moment, stand one second a step.
    return torch.tensor([step * gap or 1.0])


def split_windows(config: Any, output: Any, grids: Tensor, want_query: bool) -> list[Visual]:
    """As `split_blocks`, where the last layer is sorted by window and the tokens behind it are not.

    Args:
        config: The base's.
        output: What the tower method returned.
        grids: `[clips, 3]` patches in time, height and width.
        want_query: Whether the mean of each block comes along.
    """
    cut = patches_of(config)
    layouts = token_grids(grids, cut.merge)
    query = None
    if want_query:
        window = config.vision_config.window_size // cut.factor
        query = out_of_windows(output.last_hidden_state, layouts, cut.merge, window)
    return split_grids(output.pooler_output, layouts, query)


def out_of_windows(hidden: Tensor, grids: Sequence[Layout], merge: int, window: int) -> Tensor:
    """`[tokens, C_q]` means of blocks, in the order of the grid.

    Args:
        hidden: `[patches, C_q]`, the tower's last layer, sorted by window.
        grids: Token layout of every clip.
        merge: Patches along one side of a block.
        window: Tokens along one side of a window.
    """
    means = block_means(hidden, merge)  # [tokens, C_q], by window
    back = torch.argsort(window_order(grids, window))
    return means[back.to(means.device)]


def window_order(grids: Sequence[Layout], window: int) -> Tensor:
    """`[tokens]` indices: which grid token stands where in the tower's window order.

    Args:
        grids: Token layout of every clip.
        window: Tokens along one side of a window; the last ones of a row or column may be smaller.
    """
    parts, start = [], 0
    for grid in grids:
        index = torch.arange(start, start + grid.total).reshape(grid.t, grid.h, grid.w)
        windows = []
        for rows in index.split(window, dim=1):
            windows += [block.flatten(1) for block in rows.split(window, dim=2)]
        # All windows of one step, then the next step's.
        parts.append(torch.cat(windows, dim=1).flatten())
        start += grid.total
    return torch.cat(parts)
