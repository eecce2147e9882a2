"""VideoLLaMA3: frames of any size, one frame a step, "Time 1.0s:" before each, tokens that hardly changed are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases.families.grids import cut, join_grids, layouts, pixel_limits, split_grids
from pave.bases.family import Clip, Family, PromptStyle
from pave.bases.preprocess import HALF, BaseSettings, smart_resize
from pave.bases.visual import Visual

MERGE = 2
MIN_PIXELS, MAX_PIXELS = 128 * 28 * 28, 768 * 28 * 28
THRESHOLD = 0.1


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
) -> list[Visual]:
    """Tuple of `[t * h * w / 4, D]`; query: the tower's output, already at the token grid (it is what gets projected)."""
    grids = layouts(args["video_grid_thw"], [int(m) for m in args["video_merge_sizes"]])
    return split_grids(
        output.pooler_output, grids, output.last_hidden_state if want_query else None
    )


def query_dim(config: Any) -> int:
    """Width of the tower."""
    return int(config.vision_config.hidden_size)


def settings(config: Any) -> BaseSettings:
    """32 frames; the pixel budget holds for the whole clip."""
    return BaseSettings(
        frames=32, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS, mean=HALF, std=HALF, compress=True
    )


def kept(patches: Tensor, frames: int) -> Tensor:
    """`[frames, S]` bool: tokens whose pixels changed since the frame before; at least one a frame, all of the first.

    Args:
        patches: `[frames * S * merge^2, pixels]` normalised patches in merge-block order.
        frames: Number of frames.

    The difference is scaled by 255 although the pixels are normalised to -1..1: the rule the model
    was trained with.
    """
    blocks = patches.reshape(frames, patches.shape[0] // frames // MERGE**2, -1)
    mask = torch.ones(blocks.shape[:2], dtype=torch.bool)
    if frames > 1:
        mask[1:] = (blocks[1:] - blocks[:-1]).abs().mean(-1) * 255 > THRESHOLD
        mask[:, 0] |= ~mask.any(1)
    return mask


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """Resize into the clip's pixel budget, patchify, mark the tokens to keep; the text counts only those."""
    count, patch = frames.shape[0], config.vision_config.patch_size
    low, high = pixel_limits(options, MIN_PIXELS, MAX_PIXELS)
    size = smart_resize(frames.shape[-2], frames.shape[-1], patch * MERGE, low, high // count)
    pixels = cut(frames, size, options, patch, MERGE, 1)
    (layout,) = layouts(pixels["video_grid_thw"], [MERGE])
    keep = (
        kept(pixels["pixel_values_videos"], count)
        if options.compress
        else torch.ones(count, layout.spatial, dtype=torch.bool)
    )
    pixels |= {"video_merge_sizes": torch.tensor([MERGE]), "video_compression_mask": keep.flatten()}
    text = ",".join(
        f"Time {t:.1f}s:" + "<|video_pad|>" * n
        for t, n in zip(times.tolist(), keep.sum(1).tolist(), strict=True)
    )
    return Clip(pixels, times, text, count)


STYLE = PromptStyle(
    head="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    after_video="\n",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)

SPEC = Family(
    name="video_llama_3",
    model_types=("video_llama_3",),
    split=split,
    join=join_grids,
    query_dim=query_dim,
    prepare=prepare,
    settings=settings,
    style=STYLE,
    placeholder="<|video_pad|>",
)

SPECS = (SPEC,)
