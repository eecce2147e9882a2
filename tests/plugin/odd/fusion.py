"""A fusion without attention: every visual token gets a map of the side tokens' mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pave import register_fusion
from pave.fusion import FusionSettings


class MeanConfig(FusionSettings):
    """Its settings: the widths that every fusion has."""

    type: Literal["mean"] = "mean"


@register_fusion("mean", MeanConfig)
class MeanFusion(nn.Module):
    """Zero until it is trained, so that a fresh patch is exactly the base."""

    def __init__(self, config: MeanConfig) -> None:
        super().__init__()
        self.config = config
        self.map = nn.Linear(config.side_dim, config.out_dim)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(
        self,
        query: Sequence[Tensor],
        side: Sequence[Tensor | None],
        query_times: Sequence[Tensor] | None = None,
        side_times: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor]:
        found = []
        for clip, tokens in zip(query, side, strict=True):
            shape = (*clip.shape[:2], self.config.out_dim)  # [T, S, D]
            if tokens is None or tokens.numel() == 0:
                found.append(torch.zeros(shape))
                continue
            mean = tokens.to(self.map.weight.dtype).mean(dim=(0, 1))  # [C]
            found.append(self.map(mean).expand(shape))
        return found
