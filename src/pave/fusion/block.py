"""One fusion block: temporally aligned cross-attention, then an MLP, each with a skip connection."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pave.fusion.layout import Runs
from pave.fusion.linear import Linear
from pave.fusion.rope import rotate


@dataclass(frozen=True)
class Plan:
    """Who attends whom in this chunk of frames; the same for all blocks.

    Attributes:
        frames: The query tokens of each frame.
        groups: The side tokens each frame attends.
        query_angles: `[N_q, head_dim / 2]` rotary angles, or None.
        side_angles: `[N_k, head_dim / 2]` rotary angles, or None.
    """

    frames: Runs
    groups: Runs
    query_angles: Tensor | None = None
    side_angles: Tensor | None = None


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention, `[F, heads, L, head_dim]` each.

    PyTorch's fused kernel for CPUs is right for float32; in bfloat16 plain products are three times as fast at our sizes (few
    keys a frame), and a chunk's weights are small enough to hold.
    """
    if query.device.type != "cpu" or query.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    seen: Tensor = scores.softmax(-1) @ value
    return seen


class Attention(nn.Module):
    """Each query token attends the side tokens of its frame's group. No output projection, as the authors have none.

    Args:
        width: Channels of the query tokens.
        memory: Channels of the mapped side tokens.
        heads: Attention heads.
        tied: Use keys (before any rotation) as values.
    """

    def __init__(self, width: int, memory: int, heads: int, tied: bool) -> None:
        super().__init__()
        self.heads, self.tied = heads, tied
        self.query = Linear(width, width)
        self.key = Linear(memory, width)
        self.value = Linear(memory, width).requires_grad_(not tied)

    def forward(self, x: Tensor, memory: Tensor, plan: Plan) -> Tensor:
        """`[N_q, width]`, `[N_k, memory]` -> `[N_q, width]`."""
        query = self._split(self.query(x))
        key = self._split(self.key(memory))
        value = key if self.tied else self._split(self.value(memory))
        if plan.query_angles is not None and plan.side_angles is not None:
            query, key = rotate(query, plan.query_angles), rotate(key, plan.side_angles)
        keys = plan.groups.take(key)
        values = keys if value is key else plan.groups.take(value)
        mask = None if plan.groups.mask is None else plan.groups.mask[:, None, None]
        seen = attend(plan.frames.take(query).transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), mask)
        return plan.frames.put(seen.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """`[N, width]` -> `[N, heads, head_dim]`."""
        return x.view(len(x), self.heads, -1)


class Block(nn.Module):
    """x + attention(x), then x + MLP(norm(x)). The attention reads un-normalised tokens, as in the authors' code.

    Args:
        width: Channels of the query tokens.
        memory: Channels of the mapped side tokens.
        heads: Attention heads.
        tied: See `Attention`.
    """

    def __init__(self, width: int, memory: int, heads: int, tied: bool) -> None:
        super().__init__()
        self.attention = Attention(width, memory, heads, tied)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), Linear(width, 2 * width, bias=False), nn.GELU(), Linear(2 * width, width, bias=False)
        )

    def forward(self, x: Tensor, memory: Tensor, plan: Plan) -> Tensor:
        """`[N_q, width]`, `[N_k, memory]` -> `[N_q, width]`."""
        x = x + self.attention(x, memory, plan)
        out: Tensor = x + self.mlp(x)
        return out
