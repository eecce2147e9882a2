"""What a fusion costs: its parameters, and its floating-point operations for a clip."""

from __future__ import annotations

from itertools import pairwise

import torch

from pave.fusion import FusionConfig, FusionSettings, make_fusion


def fusion_parameters(config: FusionSettings, *, idle: bool = True) -> int:
    """Number of parameters of the fusion that these settings make.

    Args:
        config: Settings of any fusion, one of a plug-in included.
        idle: Count what is stored but never used, too, as the authors' published numbers do (the
            value projections of `tie_kv`, the marker tokens).

    Example:
        >>> fusion_parameters(FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584))
        8996352
    """
    with torch.device("meta"):  # shapes without numbers
        fusion = make_fusion(config)
    return sum(p.numel() for p in fusion.parameters() if idle or p.requires_grad)


def fusion_flops(
    config: FusionSettings,
    *,
    frames: int,
    query_tokens: int,
    side_steps: int,
    side_tokens: int = 1,
) -> int:
    """Floating-point operations of the matrix products for one clip (a multiply-add is two).

    Of a fusion that is not pave's own nothing is known but its size; it is taken to use every
    weight once for every query token.

    Args:
        config: Settings of any fusion.
        frames: T_q, frames of the clip.
        query_tokens: S_q, query tokens of one frame.
        side_steps: T_k, steps of the side channel; each frame has at least one to attend.
        side_tokens: S_k, side tokens of one step.

    Example:
        >>> config = FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584)
        >>> round(fusion_flops(config, frames=32, query_tokens=196, side_steps=32) / 1e9)
        93
    """
    queries = frames * query_tokens
    if not isinstance(config, FusionConfig):
        return 2 * fusion_parameters(config) * queries
    width = config.hidden
    keys = max(side_steps, frames) * side_tokens
    key_products = keys * config.memory_dim * width
    block = queries * width**2 + key_products
    if not config.tie_kv:
        block += key_products  # the values
    block += 2 * keys * query_tokens * width  # scores, and their sum over values
    block += 4 * queries * width**2  # MLP
    total = keys * config.side_dim * config.memory_dim + config.layers * block
    if config.learnable_query is None:
        total += queries * config.query_dim * width
    for inputs, outputs in pairwise(config.output_widths):
        total += queries * inputs * outputs
    return 2 * total
