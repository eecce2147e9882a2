"""InternVL 3: square frames as a run of images, 2x2 pixel shuffle, "Frame1: " before each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases.families.common import container, frame_counts, pool_mean, selected_hidden, side_of
from pave.bases.family import Clip, Family, PromptStyle
from pave.bases.preprocess import IMAGENET_MEAN, IMAGENET_STD, BaseSettings, normalize, resize
from pave.bases.visual import Layout, Visual


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
) -> list[Visual]:
    """`[frames of all clips, S, D]` -> one `Visual` a clip; query: mean of the patches that one token shuffles together."""
    tokens = output.pooler_output
    counts = frame_counts(frames_per_clip, tokens.shape[0])
    side = side_of(tokens.shape[1])
    queries: Sequence[Tensor | None] = [None] * len(counts)
    if want_query:
        queries = pool_mean(
            _hidden(config, output, args), round(1 / config.downsample_ratio)
        ).split(counts)
    return [
        Visual(part.flatten(0, 1), Layout(part.shape[0], side, side), query)
        for part, query in zip(tokens.split(counts), queries, strict=True)
    ]


def _hidden(config: Any, output: Any, args: Mapping[str, Any]) -> Tensor:
    """The layer the projector reads; InternVL takes the tower's own output for the last one."""
    layer = args.get("vision_feature_layer")
    if (config.vision_feature_layer if layer is None else layer) != -1:
        return selected_hidden(config, output, args)
    strategy = args.get("vision_feature_select_strategy") or config.vision_feature_select_strategy
    hidden: Tensor = output.last_hidden_state
    return hidden[:, 1:] if strategy == "default" else hidden


def join(config: Any, visuals: Sequence[Visual], output: Any | None) -> Any:
    """All frames of all clips in one tensor, one row a frame."""
    return container(
        output, torch.cat([v.tokens.unflatten(0, (v.layout.t, v.layout.spatial)) for v in visuals])
    )


def query_dim(config: Any) -> int:
    """Width of the tower."""
    return int(config.vision_config.hidden_size)


def _sides(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def settings(config: Any) -> BaseSettings:
    """32 frames squared to the tower's image size, no tiling (as for all videos)."""
    return BaseSettings(
        frames=32,
        size=_sides(config.vision_config.image_size),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """Resize, normalise; one line of text a frame."""
    pixels = normalize(resize(frames, options.frame_size()), options)
    span = "<img>" + "<IMG_CONTEXT>" * config.image_seq_length + "</img>"
    count = frames.shape[0]
    return Clip(
        {"pixel_values": pixels},
        times,
        "\n".join(f"Frame{i + 1}: {span}" for i in range(count)),
        count,
    )


STYLE = PromptStyle(
    head="<|im_start|>user\n",
    after_video="\n",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)

SPEC = Family(
    name="internvl",
    model_types=("internvl",),
    split=split,
    join=join,
    query_dim=query_dim,
    prepare=prepare,
    settings=settings,
    style=STYLE,
    placeholder="<IMG_CONTEXT>",
    method="get_image_features",
    modality="image",
    pixels="pixel_values",
)

SPECS = (SPEC,)
