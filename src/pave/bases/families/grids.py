"""Shared by the families whose tower takes one flat list of patches: Qwen2/2.5/3-VL, VideoLLaMA3.

Their tower is given all patches of all clips in one list and a `(t, h, w)` patch grid a clip. The
`merge x merge` patches that become one token lie side by side in that list, so it runs: clip, step
in time, row of blocks, column of blocks, then the patches within a block. Tokens come out in the
order clip, step, row, column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pave.bases.families.common import container
from pave.bases.preprocess import merge_times, normalize, resize, smart_resize
from pave.bases.settings import CLIP_MEAN, CLIP_STD, BaseSettings
from pave.bases.visual import Clip, Layout, Visual

# Qwen2-VL's limits of a frame, written by its processor as 128 and 768 merge blocks of 28 x 28.
MIN_PIXELS = 128 * 28 * 28
MAX_PIXELS = 768 * 28 * 28
CONTEXT = 128_000
"""Tokens of the context that the cap of a clip is reckoned from, as in qwen-vl-utils."""


@dataclass(frozen=True)
class Patches:
    """How a tower cuts frames.

    Attributes:
        side: Of a patch, in pixels.
        merge: Patches along one side of the block that becomes one token.
        step: Frames that become one token step.
    """

    side: int
    merge: int
    step: int = 1

    @property
    def factor(self) -> int:
        """Pixels along one side of a token; the sides of frames are multiples of it."""
        return self.side * self.merge


def patches_of(config: Any) -> Patches:
    """How the Qwen towers cut frames, from the model's config."""
    tower = config.vision_config
    return Patches(tower.patch_size, tower.spatial_merge_size, tower.temporal_patch_size)


def patchify(pixels: Tensor, cut: Patches) -> tuple[Tensor, Tensor]:
    """Cut frames into patches, those of one block side by side.

    A last step that lacks a frame repeats its last one.

    Args:
        pixels: `[F, 3, H, W]` normalised, sides divisible by `cut.factor`.
        cut: Sizes.

    Returns:
        `[t * h * w, 3 * step * side * side]` patches and the grid `[1, 3]` (t, h, w) in patches.
    """
    missing = -len(pixels) % cut.step  # frames, in the last step
    last = pixels[-1:].expand(missing, -1, -1, -1)
    whole = torch.cat([pixels, last])
    frames, _, height, width = whole.shape
    t = frames // cut.step
    h = height // cut.side  # in patches
    w = width // cut.side
    # [t, step, channel, block row, row in block, y, block column, column in block, x]
    blocks = (
        whole.unflatten(3, (-1, cut.merge, cut.side))
        .unflatten(2, (-1, cut.merge, cut.side))
        .unflatten(0, (-1, cut.step))
    )
    # -> [t, block row, block column, row in block, column in block, channel, step, y, x]
    ordered = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    patches = ordered.flatten(0, 4).flatten(1)
    grid = torch.tensor([[t, h, w]])
    return patches.contiguous(), grid


def tower_inputs(
    frames: Tensor, size: tuple[int, int], settings: BaseSettings, cut: Patches
) -> dict[str, Tensor]:
    """Resize, normalise and patchify: the pixel arguments of one clip."""
    pixels = normalize(resize(frames, size), settings)  # [F, 3, H, W]
    patches, grid = patchify(pixels, cut)
    return {"pixel_values_videos": patches, "video_grid_thw": grid}


def token_grids(grids: Tensor, merge: int) -> list[Layout]:
    """Token layout of every clip: its patch grid, a row of `[clips, 3]`, divided by the block."""
    layouts = []
    for t, h, w in grids.tolist():
        layout = Layout(t, h // merge, w // merge)
        layouts.append(layout)
    return layouts


def block_means(hidden: Tensor, merge: int) -> Tensor:
    """`[patches, C]` in block order -> `[patches / merge^2, C]`: the mean of each block."""
    blocks: Tensor = hidden.unflatten(0, (-1, merge**2))  # [tokens, merge^2, C]
    return blocks.mean(1)


def split_grids(
    tokens: Sequence[Tensor], grids: Sequence[Layout], query: Tensor | None
) -> list[Visual]:
    """One `Visual` a clip.

    Args:
        tokens: `[t * h * w, D]` of every clip, the family's own tuple.
        grids: Their layouts.
        query: `[tokens of all clips, C_q]` in the same order.
    """
    parts: Sequence[Tensor | None] = [None] * len(grids)
    if query is not None:
        counts = [grid.total for grid in grids]
        parts = query.split(counts)
    visuals = []
    for clip, grid, part in zip(tokens, grids, parts, strict=True):
        if part is not None:
            part = part.unflatten(0, (grid.t, grid.spatial))  # [T, S, C_q]
        visuals.append(Visual(clip, grid, part))
    return visuals


def split_blocks(config: Any, output: Any, grids: Tensor, want_query: bool) -> list[Visual]:
    """One `Visual` a clip, where the tower's last layer is in the order of blocks.

    Args:
        config: The base's.
        output: `pooler_output`, one `[tokens, D]` a clip, and `last_hidden_state [patches, C_q]`.
        grids: `[clips, 3]` patches in time, height and width.
        want_query: Whether the mean of each block comes along.
    """
    merge = patches_of(config).merge
    query = None
    if want_query:
        # The merger, which keeps that order, comes behind this layer.
        query = block_means(output.last_hidden_state, merge)  # [tokens of all clips, C_q]
    return split_grids(output.pooler_output, token_grids(grids, merge), query)


def join_grids(visuals: Sequence[Visual], output: Any | None) -> Any:
    """The families' own container: a tuple with one tensor a clip."""
    tokens = tuple(visual.tokens for visual in visuals)
    return container(output, tokens)


def pixel_limits(settings: BaseSettings, low: int, high: int) -> tuple[int, int]:
    """Pixel limits of the settings, or the family's own."""
    least = settings.min_pixels or low
    most = settings.max_pixels or high
    return least, most


def qwen2_settings() -> BaseSettings:
    """32 frames within the reference's limits of a frame and of a clip (qwen-vl-utils)."""
    return BaseSettings(
        frames=32,
        min_pixels=MIN_PIXELS,
        max_pixels=MAX_PIXELS,
        cap_pixels_per_frame=True,
        mean=CLIP_MEAN,
        std=CLIP_STD,
    )


def frame_cap(settings: BaseSettings, limits: tuple[int, int], frames: int, cut: Patches) -> int:
    """Most pixels of a frame of Qwen2-VL and 2.5: an even share of the clip's, where those count.

    Frames that become one step share its tokens, so each may have as many pixels as the step.

    Args:
        settings: The base's.
        limits: Fewest and most pixels of a frame by itself.
        frames: Of the clip.
        cut: Sizes.
    """
    low, high = limits
    if not settings.cap_pixels_per_frame:
        return high
    tokens = settings.max_video_tokens or CONTEXT
    # A tenth of the context is left to the words.
    total = int(tokens * cut.factor**2 * 0.9)  # pixels
    share = total * cut.step // frames
    # In frames without number the share would end below the fewest.
    return max(min(high, share), int(low * 1.05))


def qwen2_clip(config: Any, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """A clip of Qwen2-VL and 2.5: each frame resized into the limits, one vision span, no times.

    The limits are those of Qwen's own qwen-vl-utils, unless a video processor's file has others.
    """
    cut = patches_of(config)
    limits = pixel_limits(settings, MIN_PIXELS, MAX_PIXELS)
    count, _, height, width = frames.shape
    most = frame_cap(settings, limits, count, cut)
    size = smart_resize(height, width, cut.factor, limits[0], most)
    pixels = tower_inputs(frames, size, settings, cut)
    (layout,) = token_grids(pixels["video_grid_thw"], cut.merge)
    places = "<|video_pad|>" * layout.total
    text = f"<|vision_start|>{places}<|vision_end|>"
    step_times = merge_times(times, cut.step)
    return Clip(pixels, step_times, text, frames=layout.t * cut.step)
