"""Qwen3-VL (dense and mixture of experts): a timestamp before every step, and "deepstack" features beside the tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pave.bases.families import qwen2_vl
from pave.bases.families.common import container
from pave.bases.families.grids import (
    block_means,
    cut,
    grid_merges,
    layouts,
    pixel_limits,
    split_grids,
)
from pave.bases.family import Clip, Family, PromptStyle
from pave.bases.preprocess import HALF, BaseSettings, check_aspect, merge_times
from pave.bases.visual import Visual

MIN_PIXELS, MAX_PIXELS = 128 * 32 * 32, 768 * 32 * 32


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
) -> list[Visual]:
    """As Qwen2-VL; deepstack features (added to the first layers, untouched by patches) travel as `extra`."""
    query = (
        block_means(output.last_hidden_state, config.vision_config.spatial_merge_size)
        if want_query
        else None
    )
    grids = layouts(args["video_grid_thw"], grid_merges(config, args))
    extra = [
        tuple(level[clip] for level in output.deepstack_features) for clip in range(len(grids))
    ]
    return split_grids(output.pooler_output, grids, query, extra)


def join(config: Any, visuals: Sequence[Visual], output: Any | None) -> Any:
    """A tuple with one tensor a clip, and deepstack features as one such tuple a level."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    tokens = tuple(visual.tokens for visual in visuals)
    levels = [tuple(level) for level in zip(*(visual.extra for visual in visuals), strict=True)]
    if output is None:
        return BaseModelOutputWithDeepstackFeatures(pooler_output=tokens, deepstack_features=levels)
    return container(output, tokens, deepstack_features=levels)


def fit(
    frames: int, height: int, width: int, factor: int, step: int, limits: tuple[int, int]
) -> tuple[int, int]:
    """Sides divisible by `factor`; unlike Qwen2-VL the limits hold for all pixels of the clip."""
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    check_aspect(height, width)
    low, high = limits
    h, w = round(height / factor) * factor, round(width / factor) * factor
    total = round(frames / step) * step * h * w
    if total > high:
        beta = math.sqrt(frames * height * width / high)
        return max(factor, math.floor(height / beta / factor) * factor), max(
            factor, math.floor(width / beta / factor) * factor
        )
    if total < low:
        beta = math.sqrt(low / (frames * height * width))
        return math.ceil(height * beta / factor) * factor, math.ceil(width * beta / factor) * factor
    return h, w


def settings(config: Any) -> BaseSettings:
    """32 frames within the Hugging Face video processor's pixel limits of a clip."""
    return BaseSettings(
        frames=32, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS, mean=HALF, std=HALF
    )


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """Resize into the clip's pixel budget, patchify; every step is written as `<0.5 seconds>` and its own vision span."""
    tower = config.vision_config
    patch, merge, step = tower.patch_size, tower.spatial_merge_size, tower.temporal_patch_size
    count = max(frames.shape[0], step)
    size = fit(
        count,
        frames.shape[-2],
        frames.shape[-1],
        patch * merge,
        step,
        pixel_limits(options, MIN_PIXELS, MAX_PIXELS),
    )
    pixels = cut(frames, size, options, patch, merge, step)
    (layout,) = layouts(pixels["video_grid_thw"], [merge])
    merged = merge_times(times, step)
    span = "<|vision_start|>" + "<|video_pad|>" * layout.spatial + "<|vision_end|>"
    text = "".join(f"<{second:.1f} seconds>{span}" for second in merged.tolist())
    return Clip(pixels, merged, text, layout.t * step)


def query_dim(config: Any) -> int:
    """Width of the tower."""
    return int(config.vision_config.hidden_size)


STYLE = PromptStyle(
    head="<|im_start|>user\n",
    after_video="",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)

SPEC = Family(
    name="qwen3_vl",
    model_types=("qwen3_vl", "qwen3_vl_moe"),
    split=split,
    join=join,
    query_dim=query_dim,
    prepare=prepare,
    settings=settings,
    style=STYLE,
    placeholder="<|video_pad|>",
    frames_per_step=qwen2_vl.frames_per_step,
    mrope=True,
)

SPECS = (SPEC,)
