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


def attend(query: Tensor, key: Tensor, value: Tensor, frames: Runs, groups: Runs) -> Tensor:
    """Softmax attention of each frame's query tokens over the side tokens of its group.

    PyTorch's fused kernel for CPUs is right for float32; in bfloat16 plain products are faster at
    our sizes (few keys a frame), and a chunk's weights are small enough to hold.

    Args:
        query: `[N_q, heads, head_dim]`.
        key: `[N_k, heads, head_dim]`.
        value: As `key`; may be the same tensor.
        frames: The query tokens of each frame.
        groups: The side tokens each frame attends; padding gets no weight.

    Returns:
        `[N_q, heads * head_dim]`.
    """
    if query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
        return _by_products(query, key, value, frames, groups)
    keys = groups.take(key)
    values = keys if value is key else groups.take(value)
    mask = None if groups.mask is None else groups.mask[:, None, None]
    seen = F.scaled_dot_product_attention(
        frames.take(query).transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=mask,
    )
    return frames.put(seen.transpose(1, 2).flatten(2))


def _by_products(query: Tensor, key: Tensor, value: Tensor, frames: Runs, groups: Runs) -> Tensor:
    """Heads come first, as the products want them: so the keys are copied once and serve as values, too."""
    keys = groups.take(key.transpose(0, 1).contiguous(), 1)
    values = keys if value is key else groups.take(value.transpose(0, 1).contiguous(), 1)
    asked = frames.take(query.transpose(0, 1).contiguous() * query.shape[-1] ** -0.5, 1)
    scores = asked @ keys.mT
    if groups.mask is not None:
        # Only where padding can be, and unseen by autograd: a weight of 0 passes no gradient to its
        # score anyway.
        padded = slice(groups.shortest, None)
        scores.detach()[..., padded].masked_fill_(~groups.mask[:, None, padded], -torch.inf)
    seen = scores.softmax(-1) @ values
    return frames.put(seen.permute(1, 2, 0, 3).flatten(2))


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
        return attend(query, key, value, plan.frames, plan.groups)

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
            nn.LayerNorm(width),
            Linear(width, 2 * width, bias=False),
            nn.GELU(),
            Linear(2 * width, width, bias=False),
        )

    def forward(self, x: Tensor, memory: Tensor, plan: Plan) -> Tensor:
        """`[N_q, width]`, `[N_k, memory]` -> `[N_q, width]`."""
        x = x + self.attention(x, memory, plan)
        out: Tensor = x + self.mlp(x)
        return out
