"""Small helpers that several families share: rebuilding an output container, pooling tower tokens to the token grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutputWithPooling

from pave.errors import BaseError


def container(output: Any | None, tokens: Any, **extra: Any) -> Any:
    """The tower output with `tokens` as its `pooler_output`, or a fresh one when there is no output (cached tokens).

    Args:
        output: What the tower method returned; its other fields are kept, the object itself is not
            changed.
        tokens: Projected tokens in the family's own container.
        **extra: Further fields to replace, such as Qwen3-VL's `deepstack_features`.

    Returns:
        An object that the family's forward accepts in `mm_encoder_outputs`.
    """
    if output is None:
        return BaseModelOutputWithPooling(pooler_output=tokens)
    return type(output)(**{**dict(output.items()), "pooler_output": tokens, **extra})


def selected_hidden(config: Any, output: Any, args: Mapping[str, Any]) -> Tensor:
    """`[frames, tokens, C_q]` tower features at the layer(s) the projector reads, without CLS where the family drops it.

    Args:
        config: The base's config (`vision_feature_layer`, `vision_feature_select_strategy`).
        output: Tower output with `hidden_states`; Hugging Face records only the chosen layers.
        args: Arguments of the tower call, which may override both settings.
    """
    layers = args.get("vision_feature_layer")
    layers = config.vision_feature_layer if layers is None else layers
    strategy = args.get("vision_feature_select_strategy") or config.vision_feature_select_strategy
    chosen = [layers] if isinstance(layers, int) else list(layers)
    hidden = torch.cat([output.hidden_states[i] for i in chosen], dim=-1)
    return hidden[:, 1:] if strategy == "default" else hidden


def feature_layers(config: Any) -> int:
    """How many tower layers the projector reads (their features are concatenated)."""
    return 1 if isinstance(config.vision_feature_layer, int) else len(config.vision_feature_layer)


def side_of(count: int) -> int:
    """The side of a square grid of `count` tokens.

    Raises:
        BaseError: If `count` is no square number.
    """
    side = math.isqrt(count)
    if side * side != count:
        raise BaseError(
            f"the tower returned {count} tokens a frame, which is no square grid; this model is "
            "not supported"
        )
    return side


def to_map(tokens: Tensor) -> Tensor:
    """`[frames, g * g, C]` row-major tokens -> `[frames, C, g, g]`."""
    side = side_of(tokens.shape[1])
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, side, side)


def from_map(grid: Tensor) -> Tensor:
    """`[frames, C, h, w]` -> `[frames, h * w, C]` row-major tokens."""
    return grid.flatten(2).transpose(1, 2).contiguous()


def pool_bilinear(tokens: Tensor, side: int) -> Tensor:
    """Pool `[frames, g * g, C]` to `[frames, side * side, C]` as LLaVA-OneVision pools its projected tokens."""
    return from_map(F.interpolate(to_map(tokens), size=(side, side), mode="bilinear"))


def pool_mean(tokens: Tensor, factor: int) -> Tensor:
    """Mean of each `factor x factor` block: `[frames, g * g, C]` -> `[frames, (g / factor) ** 2, C]`."""
    return from_map(F.avg_pool2d(to_map(tokens), factor))


def frame_counts(frames_per_clip: Sequence[int] | None, rows: int) -> list[int]:
    """Frames of each clip for the families that see a video as a run of images; one clip when nothing is said.

    Raises:
        BaseError: If the counts do not add up to the frames encoded.
    """
    counts = [rows] if frames_per_clip is None else [int(n) for n in frames_per_clip]
    if sum(counts) != rows:
        raise BaseError(
            f"the tower encoded {rows} frames but the clips have {counts}; pass the frames of "
            "every clip"
        )
    return counts
