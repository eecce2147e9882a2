"""LLaVA-NeXT-Video: square frames, average pooling before the projector, Vicuna's chat format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases.families.common import container, feature_layers, pool_mean, selected_hidden
from pave.bases.family import Clip, Family, PromptStyle
from pave.bases.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    BaseSettings,
    center_crop,
    normalize,
    resize,
    shortest_edge,
)
from pave.bases.visual import Layout, Visual


def grid_side(config: Any) -> int:
    """Tokens along one side of a frame after pooling, e.g. 24 / 2 = 12."""
    return int(
        config.vision_config.image_size
        // config.vision_config.patch_size
        // config.spatial_pool_stride
    )


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
) -> list[Visual]:
    """`[B, F * S, D]` -> one `Visual` a clip; query: the averaged tower tokens, which are what gets projected."""
    batch, frames = args["pixel_values_videos"].shape[:2]
    side = grid_side(config)
    queries: list[Tensor | None] = [None] * batch
    if want_query:
        pooled = pool_mean(selected_hidden(config, output, args), config.spatial_pool_stride)
        queries = list(pooled.unflatten(0, (batch, frames)))
    layout = Layout(frames, side, side)
    return [Visual(output.pooler_output[i], layout, queries[i]) for i in range(batch)]


def join(config: Any, visuals: Sequence[Visual], output: Any | None) -> Any:
    """Clips of one length give `[B, n, D]`, of several lengths a list, which the forward flattens the same way."""
    tokens = [visual.tokens for visual in visuals]
    return container(
        output, torch.stack(tokens) if len({t.shape[0] for t in tokens}) == 1 else tokens
    )


def query_dim(config: Any) -> int:
    """Width of the tower features that the projector reads."""
    return int(config.vision_config.hidden_size * feature_layers(config))


def settings(config: Any) -> BaseSettings:
    """32 frames, the shorter edge resized to the tower's image size, the centre cut out."""
    side = int(config.vision_config.image_size)
    return BaseSettings(
        frames=32, shortest_edge=side, crop=(side, side), mean=CLIP_MEAN, std=CLIP_STD
    )


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """Resize, crop, normalise; one token step a frame."""
    side = int(config.vision_config.image_size)
    small = resize(frames, shortest_edge(frames, options.shortest_edge or side))
    pixels = normalize(center_crop(small, options.crop or (side, side)), options)
    count = frames.shape[0]
    return Clip(
        {"pixel_values_videos": pixels[None]},
        times,
        "<video>" * (count * grid_side(config) ** 2),
        count,
    )


STYLE = PromptStyle(
    head="USER: ", after_video="\n", ask=" ASSISTANT:", end="</s>", again="USER: ", answer=" "
)

SPEC = Family(
    name="llava_next_video",
    model_types=("llava_next_video",),
    split=split,
    join=join,
    query_dim=query_dim,
    prepare=prepare,
    settings=settings,
    style=STYLE,
    placeholder="<video>",
)

SPECS = (SPEC,)
