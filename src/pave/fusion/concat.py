"""The *concat* arm: side tokens in the language model's width, to stand behind the visual ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pave.fusion_config import ConcatConfig


class Concat(nn.Module):
    """Maps every side token by itself, as a projector maps visual tokens.

    It is called like any fusion, but what it gives is appended instead of added.

    Example:
        >>> import torch
        >>> concat = Concat(ConcatConfig(side_dim=8, query_dim=4, out_dim=4))
        >>> [tokens.shape for tokens in concat([], [torch.zeros(5, 2, 8)])]
        [torch.Size([10, 4])]
    """

    def __init__(self, config: ConcatConfig) -> None:
        super().__init__()
        self.config = config
        # Side tokens come in any scale.
        self.norm = nn.LayerNorm(config.side_dim)
        self.hidden = nn.Linear(config.side_dim, config.hidden)
        self.act = nn.GELU()
        self.output = nn.Linear(config.hidden, config.out_dim)

    def forward(
        self,
        query: Sequence[Tensor],
        side: Sequence[Tensor],
        query_times: Any = None,
        side_times: Any = None,
    ) -> list[Tensor]:
        """Tokens to append.

        Args:
            query: Not read.
            side: `[T, S, C]` a clip.
            query_times: Not read.
            side_times: Not read: tokens stand in the order of time.

        Returns:
            `[T * S, D]` a clip.
        """
        found = []
        for tokens in side:
            flat = tokens.flatten(0, 1)  # [T * S, C]
            normed = self.norm(flat)
            hidden = self.act(self.hidden(normed))  # [T * S, hidden]
            found.append(self.output(hidden))  # [T * S, D]
        return found
