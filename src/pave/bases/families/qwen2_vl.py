"""Qwen2-VL: frames of any size, two frames a step, 2x2 merging, multi-axial positions, no timestamps in the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pave.bases.families.grids import (
    block_means,
    cut,
    grid_merges,
    join_grids,
    layouts,
    pixel_limits,
    split_grids,
)
from pave.bases.family import Clip, Family, PromptStyle
from pave.bases.preprocess import CLIP_MEAN, CLIP_STD, BaseSettings, merge_times, smart_resize
from pave.bases.visual import Visual

MIN_PIXELS, MAX_PIXELS = 128 * 28 * 28, 768 * 28 * 28


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
) -> list[Visual]:
    """Tuple of `[t * h * w / 4, D]`; query: mean of each 2x2 merge block of the tower's last layer."""
    query = (
        block_means(output.last_hidden_state, config.vision_config.spatial_merge_size)
        if want_query
        else None
    )
    return split_grids(
        output.pooler_output, layouts(args["video_grid_thw"], grid_merges(config, args)), query
    )


def query_dim(config: Any) -> int:
    """Width of the tower (its config calls the *output* width `hidden_size`)."""
    return int(config.vision_config.embed_dim)


def frames_per_step(config: Any) -> int:
    """Frames merged into one token step."""
    return int(config.vision_config.temporal_patch_size)


def settings(config: Any) -> BaseSettings:
    """32 frames within the Hugging Face video processor's pixel limits of a frame."""
    return BaseSettings(
        frames=32, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS, mean=CLIP_MEAN, std=CLIP_STD
    )


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """Resize each frame into the pixel limits, patchify; an odd last frame is repeated."""
    tower = config.vision_config
    patch, merge, step = tower.patch_size, tower.spatial_merge_size, tower.temporal_patch_size
    low, high = pixel_limits(options, MIN_PIXELS, MAX_PIXELS)
    size = smart_resize(frames.shape[-2], frames.shape[-1], patch * merge, low, high)
    pixels = cut(frames, size, options, patch, merge, step)
    (layout,) = layouts(pixels["video_grid_thw"], [merge])
    text = "<|vision_start|>" + "<|video_pad|>" * layout.total + "<|vision_end|>"
    return Clip(pixels, merge_times(times, step), text, layout.t * step)


STYLE = PromptStyle(
    head="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    after_video="",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)

SPEC = Family(
    name="qwen2_vl",
    model_types=("qwen2_vl",),
    split=split,
    join=join_grids,
    query_dim=query_dim,
    prepare=prepare,
    settings=settings,
    style=STYLE,
    placeholder="<|video_pad|>",
    frames_per_step=frames_per_step,
    mrope=True,
)

SPECS = (SPEC,)
