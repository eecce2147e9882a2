"""`Fusion`: g(query tokens, side tokens) -> residual, as the paper's code computes it.

    x = W_Q q                      M = W_M s
    x = x + Attention(x, M)        each frame's tokens attend the side tokens of its moment
    x = x + MLP(LayerNorm(x))      ... L blocks of these two
    g = LayerNorm0(MLP(x))         starts at zero, so a fresh fusion changes nothing

Shapes: F frames of all clips, S query tokens of a frame, L side tokens that a frame attends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pave.errors import ChannelError
from pave.fusion import rope
from pave.fusion.align import Frames, by_number, by_time, join, seconds, spread, stretch, take
from pave.fusion.config import FusionConfig
from pave.fusion.registry import register_fusion


class Attention(nn.Module):
    """Each query token attends the side tokens of its frame; no output projection, as the authors have none.

    Args:
        config: `tie_kv` takes the keys (before any rotation) for values.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.heads, self.tied = config.heads, config.tie_kv
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.memory_dim, config.hidden)
        self.value = nn.Linear(config.memory_dim, config.hidden).requires_grad_(not self.tied)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None, turns: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """`[F, S, hidden]`, `[F, L, memory]`, mask `[F, L]` -> `[F, S, hidden]`."""
        query, key = self.query(x), self.key(memory)
        value = key if self.tied else self.value(memory)
        # [F, N, hidden] -> [F, heads, N, head_dim]
        query, key, value = (
            t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (query, key, value)
        )
        if turns is not None:
            query, key = rope.rotate(query, turns[0]), rope.rotate(key, turns[1])
        seen = None if mask is None else mask[:, None, None]  # [F, 1, 1, L]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return out.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """x + attention(x), then x + MLP(x); the attention reads tokens without a norm, like the authors'."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = nn.Sequential(
            nn.LayerNorm(config.hidden),
            nn.Linear(config.hidden, 2 * config.hidden, bias=False),
            nn.GELU(),
            nn.Linear(2 * config.hidden, config.hidden, bias=False),
        )

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None, turns: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """`[F, S, hidden]`, `[F, L, memory]` -> `[F, S, hidden]`."""
        x = x + self.attention(x, memory, mask, turns)
        out: Tensor = x + self.mlp(x)
        return out


@register_fusion("cross_attention", FusionConfig)
class Fusion(nn.Module):
    """The fusion function of a patch.

    It computes in the dtype of its own weights (float32 as built), whatever the inputs are and also
    under autocast: cast the residual as the last thing, where it is added.

    Args:
        config: Shapes and rules.

    Attributes:
        checkpointing: Keep no activations for the backward pass but compute them again: about a
            third more time, a small part of the memory.
        chunk: Tokens that are worked on at a time, which bounds memory; frames are independent.

    Example:
        >>> fusion = Fusion(FusionConfig(side_dim=8, query_dim=6, out_dim=10, hidden=16))
        >>> query = [torch.randn(4, 9, 6), torch.randn(2, 9, 6)]
        >>> [tuple(r.shape) for r in fusion(query, [torch.randn(30, 1, 8), None])]
        [(4, 9, 10), (2, 9, 10)]
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.chunk = 2**16
        self.side_map = nn.Linear(config.side_dim, config.memory_dim)
        self.query_map: nn.Linear | None = None
        self.learnt_query: nn.Parameter | None = None
        if config.learnable_query is None:
            self.query_map = nn.Linear(config.query_dim, config.hidden)
        else:
            self.learnt_query = nn.Parameter(torch.randn(*config.learnable_query, config.hidden))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Sequential()
        for inputs, outputs in config.output_widths():
            if len(self.output):
                self.output.append(nn.GELU())
            self.output.append(nn.Linear(inputs, outputs))
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.out_dim) if config.output_norm else None
        self.markers: nn.Parameter | None = None
        if config.start_end_tokens:
            self.markers = nn.Parameter(torch.randn(4, config.out_dim), requires_grad=False)
        # The authors' initialisation: biases at 0, and the output norm as well.
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.norm is not None:
            nn.init.zeros_(self.norm.weight)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, hence of the residuals."""
        return self.side_map.weight.dtype

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or unfreeze, except for the idle tensors of the authors' files: those stay frozen."""
        super().requires_grad_(requires_grad)
        for block in self.blocks if self.config.tie_kv else ():
            block.get_submodule("attention.value").requires_grad_(False)
        if self.markers is not None:
            self.markers.requires_grad_(False)
        return self

    def forward(
        self,
        query: Sequence[Tensor],
        side: Sequence[Tensor | None],
        query_times: Sequence[Tensor] | None = None,
        side_times: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor]:
        """Residuals of a batch of clips, which may all differ in length and in tokens a step.

        Args:
            query: A clip each, `[T_q, S_q, query_dim]`: the base's visual tokens.
            side: A clip each, `[T_k, S_k, side_dim]`; None or no tokens at all: the clip has no
                such channel.
            query_times: A clip each, `[T_q]` seconds, non-decreasing. Used by `alignment="times"`
                alone. Without any times, both sequences are taken to spread evenly over the same
                duration.
            side_times: A clip each, `[T_k]` seconds, non-decreasing; None where `side` is None.

        Returns:
            A clip each, `[T_q, S_q, out_dim]` in this module's dtype; exactly zero for a clip
            without side tokens, and then without a gradient to anything.

        Raises:
            ChannelError: If shapes, counts or times do not fit.
        """
        shapes = self._check(query, side, query_times, side_times)
        residuals, alike = {}, {}
        for i, (shape, tokens) in enumerate(zip(shapes, side, strict=True)):
            if tokens is None or tokens.numel() == 0 or 0 in shape:
                residuals[i] = self.side_map.weight.new_zeros(*shape, self.config.out_dim)
                continue
            frames = query[i] if self.learnt_query is None else self.learnt_query
            times = None
            if query_times is not None and side_times is not None:
                times = query_times[i], side_times[i]
            alike.setdefault(shape[1], {})[i] = self._aligned(frames, tokens, times)
        # Clips whose frames have equally many tokens are fused together: usually all of them.
        with torch.autocast(self.side_map.weight.device.type, enabled=False):
            for clips in alike.values():
                lengths = [len(clip.query) for clip in clips.values()]
                fused = self._fuse(join(list(clips.values()))).split(lengths)
                residuals.update(zip(clips, fused, strict=True))
        return [residuals[i] for i in range(len(query))]

    def _check(
        self,
        query: Sequence[Tensor],
        side: Sequence[Tensor | None],
        query_times: Sequence[Tensor] | None,
        side_times: Sequence[Tensor | None] | None,
    ) -> list[tuple[int, int]]:
        """Refuse what cannot fit and return (frames, tokens a frame) of each clip's residual."""
        config = self.config
        given = {"side tokens": side, "query_times": query_times, "side_times": side_times}
        for name, entries in given.items():
            if entries is not None and len(entries) != len(query):
                raise ChannelError(
                    f"{len(query)} clips need as many entries of {name}, got {len(entries)}; "
                    "use None for no channel"
                )
        if config.alignment == "times" and (query_times is None) != (side_times is None):
            raise ChannelError(
                "give both query_times and side_times, or neither: one alone says nothing about "
                "the other"
            )
        for tokens in side:
            if tokens is not None and (tokens.dim() != 3 or tokens.shape[2] != config.side_dim):
                shape = tuple(tokens.shape)
                raise ChannelError(f"side tokens must be [T, S, {config.side_dim}], got {shape}")
        if config.learnable_query is not None:
            return [config.learnable_query] * len(query)
        for clip in query:
            if clip.dim() != 3 or clip.shape[2] != config.query_dim:
                shape = tuple(clip.shape)
                raise ChannelError(f"query tokens must be [T, S, {config.query_dim}], got {shape}")
        return [(clip.shape[0], clip.shape[1]) for clip in query]

    def _aligned(
        self, query: Tensor, side: Tensor, times: tuple[Tensor, Tensor | None] | None
    ) -> Frames:
        """A clip's frames, each with the run of side tokens that it attends.

        Args:
            query: `[T_q, S_q, query_dim]`.
            side: `[T_k, S_k, side_dim]`.
            times: Seconds of both, or None.
        """
        config, frames = self.config, len(query)
        if config.alignment == "groups":
            if len(side) < frames:
                side = stretch(side.to(self.side_map.weight), frames)
            first, count = by_number(frames, len(side))
            clocks = None
        else:
            if times is None:
                clocks = spread(frames), spread(len(side))
            elif times[1] is None:
                raise ChannelError("side_times must have an entry for each clip with side tokens")
            else:
                clocks = (
                    seconds("query_times", times[0], frames),
                    seconds("side_times", times[1], len(side)),
                )
            first, count = by_time(*clocks)
        tokens = side.shape[1]
        clip = Frames(query, side.flatten(0, 1), first * tokens, count * tokens)
        if config.rope is None:
            return clip
        device = self.side_map.weight.device
        sizes = (frames, query.shape[1]), (len(side), tokens)
        turns = rope.angles(*sizes, clocks, config.head_dim, device)
        return clip._replace(query_angles=turns[0], side_angles=turns[1].flatten(0, 1))

    def _fuse(self, frames: Frames) -> Tensor:
        """Residuals `[F, S, out_dim]`, as many frames at a time as `chunk` allows."""
        total, cells = frames.query.shape[:2]
        size = max(1, self.chunk // max(cells, int(frames.count.max())))
        parts = []
        for low in range(0, total, size):
            part = slice(low, low + size)
            side, mask = take(frames.side, frames.first[part], frames.count[part])
            turns = None
            if frames.query_angles is not None and frames.side_angles is not None:
                turns = (
                    frames.query_angles[part],
                    take(frames.side_angles, frames.first[part], frames.count[part])[0],
                )
            inputs = (frames.query[part], side, mask, turns)
            if self.checkpointing and torch.is_grad_enabled():
                parts.append(checkpoint(self._residual, *inputs, use_reentrant=False))
            else:
                parts.append(self._residual(*inputs))
        return torch.cat(parts)

    def _residual(
        self,
        query: Tensor,
        side: Tensor,
        mask: Tensor | None,
        turns: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """The function proper: `[f, S, query_dim]`, `[f, L, side_dim]` -> `[f, S, out_dim]`."""
        x = query.to(self.side_map.weight)
        if self.query_map is not None:  # a learnt query has the width of the blocks already
            x = self.query_map(x)
        memory = self.side_map(side.to(x))
        for block in self.blocks:
            x = block(x, memory, mask, turns)
        x = self.dropout(self.output(x))
        return x if self.norm is None else self.norm(x)
