"""What several families share: rebuilding an output container, pooling tower tokens to the grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutputWithPooling

from pave.bases.visual import Visual
from pave.errors import BaseError


def container(output: Any | None, tokens: Any, **extra: Any) -> Any:
    """A tower output with `tokens` as its `pooler_output`.

    Args:
        output: What the tower method returned; its other fields are kept, the object itself is not
            changed. None, as for cached tokens, gives a fresh one.
        tokens: Projected tokens in the family's own container.
        **extra: Further fields to replace, such as Qwen3-VL's `deepstack_features`.

    Returns:
        An object that the family's forward accepts in `mm_encoder_outputs`.
    """
    if output is None:
        return BaseModelOutputWithPooling(pooler_output=tokens)
    # A new one: whoever called the tower may still want its tokens without residuals.
    fields = {**dict(output.items()), "pooler_output": tokens, **extra}
    return type(output)(**fields)


def selected_hidden(config: Any, output: Any, args: Mapping[str, Any]) -> Tensor:
    """`[frames, tokens, C_q]` tower features at the layers that the projector reads.

    Args:
        config: The base's config (`vision_feature_layer`, `vision_feature_select_strategy`).
        output: Tower output with `hidden_states`; Hugging Face records only the chosen layers.
        args: Arguments of the tower call, which may override both settings.
    """
    layers = args.get("vision_feature_layer")
    if layers is None:
        layers = config.vision_feature_layer
    if isinstance(layers, int):
        layers = [layers]
    strategy = args.get("vision_feature_select_strategy") or config.vision_feature_select_strategy
    first = 1 if strategy == "default" else 0  # the tower's CLS token, which is dropped
    chosen = [output.hidden_states[layer][:, first:] for layer in layers]
    return torch.cat(chosen, dim=-1)


def selected_width(config: Any) -> int:
    """Width of `selected_hidden`: the features of several layers are concatenated."""
    layers = config.vision_feature_layer
    count = 1 if isinstance(layers, int) else len(layers)
    return int(config.vision_config.hidden_size * count)


def image_side(config: Any) -> int:
    """Side of the tower's square pictures in pixels."""
    return int(config.vision_config.image_size)


def side_of(count: int) -> int:
    """The side of a square grid of `count` tokens.

    Raises:
        BaseError: If `count` is no square number.
    """
    side = math.isqrt(count)
    if side * side != count:
        raise BaseError(
            f"the tower returned {count} tokens per frame, which do not form a square grid; this "
            "model is not supported"
        )
    return side


def pooled(tokens: Tensor, factor: int, kind: str = "average") -> Tensor:
    """Make `factor x factor` tokens of a square grid one, as LLaVA's `get_2dPool` does.

    Args:
        tokens: `[frames, g * g, C]`, row by row.
        factor: Tokens along a side that become one.
        kind: "average" or "max" of each block; odd rows and columns at the end are dropped. Or
            "bilinear", which samples the grid anew and rounds its side up.

    Returns:
        `[frames, h * h, C]` with h = g / factor.
    """
    side = math.isqrt(tokens.shape[1])  # g; what is no square grid, `unflatten` refuses
    grid = tokens.transpose(1, 2).unflatten(2, (side, side))  # [frames, C, g, g]
    if kind == "bilinear":
        small = math.ceil(side / factor)
        grid = F.interpolate(grid, size=(small, small), mode="bilinear")
    elif kind == "max":
        grid = F.max_pool2d(grid, factor)
    else:
        grid = F.avg_pool2d(grid, factor)
    return grid.flatten(2).transpose(1, 2).contiguous()


def frame_rows(visuals: Sequence[Visual]) -> Tensor:
    """`[frames, S, D]` of clips in a row, for families that see videos as one run of images."""
    rows = []
    for visual in visuals:
        layout = visual.layout
        rows.append(visual.tokens.unflatten(0, (layout.t, layout.spatial)))  # [F, S, D]
    return torch.cat(rows)


def frame_counts(frames_per_clip: Sequence[int] | None, rows: int) -> list[int]:
    """Frames of each clip, for families that see videos as one run of `rows` images.

    Nothing said means one clip.

    Raises:
        BaseError: If the counts do not add up to the frames encoded.
    """
    if frames_per_clip is None:
        return [rows]
    counts = [int(count) for count in frames_per_clip]
    if sum(counts) != rows:
        raise BaseError(
            f"the tower encoded {rows} frames but the clips have {counts}; pass the frames of "
            "every clip"
        )
    return counts
