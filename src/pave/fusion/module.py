"""`Fusion`: g(query tokens q, side tokens s) -> residual, as the paper's code computes it.

    x = W_Q q                      M = W_M s
    x = x + Attention(x, M)        a frame's tokens attend the side tokens of its moment
    x = x + MLP(LayerNorm(x))      ... L blocks of these two
    g = LayerNorm0(MLP(x))         starts at zero, so that a fresh fusion changes nothing

Shapes: F frames of all clips, S query tokens of a frame, L side tokens that a frame attends.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pave.errors import ChannelError
from pave.fusion import rope
from pave.fusion.align import Frames, by_number, by_time, join, seconds, stretch, take
from pave.fusion.config import FusionConfig

Turns = tuple[Tensor, Tensor]  # rotary angles, [F, S, head_dim / 2] and [F, L, head_dim / 2]
Times = Sequence[Tensor | None] | None  # [T] seconds of each clip


class Attention(nn.Module):
    """A frame's query tokens attend its side tokens; no output projection, as the authors'."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.memory_dim, config.hidden)
        self.value = nn.Linear(config.memory_dim, config.hidden)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None,
        turns: Turns,
    ) -> Tensor:
        """`[F, S, hidden]`, `[F, L, memory]`, mask `[F, 1, 1, L]` -> `[F, S, hidden]`."""
        split = (self.config.heads, -1)  # [F, N, hidden] -> [F, heads, N, head_dim]
        query = self.query(x).unflatten(2, split).transpose(1, 2)
        key = self.key(memory).unflatten(2, split).transpose(1, 2)
        value = key  # not yet turned
        if not self.config.tie_kv:
            value = self.value(memory).unflatten(2, split).transpose(1, 2)
        if self.config.rope is not None:
            query = rope.rotate(query, turns[0])
            key = rope.rotate(key, turns[1])
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return seen.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """x + attention(x), then x + MLP(x); attention reads x without a norm, as the authors' does."""

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
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None,
        turns: Turns,
    ) -> Tensor:
        """As `Attention.forward`."""
        x = x + self.attention(x, memory, mask, turns)
        out: Tensor = x + self.mlp(x)
        return out


class Fusion(nn.Module):
    """The fusion function of a patch.

    It computes in the dtype of its own weights (float32 as built), whatever the inputs are and also
    under autocast: cast the residual as the last thing, where it is added.

    Attributes:
        checkpointing: Keep no activations for the backward pass but compute them again: about a
            third more time, a small part of the memory.
        chunk: Tokens worked on at a time; frames are independent, so this only bounds memory.

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
        self.query_map: nn.Module = nn.Identity()  # a learnt query has the blocks' width already
        self.learnt_query: nn.Parameter | None = None
        if config.learnable_query is None:
            self.query_map = nn.Linear(config.query_dim, config.hidden)
        else:
            self.learnt_query = nn.Parameter(torch.randn(*config.learnable_query, config.hidden))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Sequential()
        for inputs, outputs in pairwise(config.output_widths):
            if len(self.output):
                self.output.append(nn.GELU())
            self.output.append(nn.Linear(inputs, outputs))
        self.dropout = nn.Dropout(config.dropout)
        # The authors' start: all biases of linear maps are 0, and so is the output norm.
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.norm: nn.LayerNorm | None = None
        if config.output_norm:
            self.norm = nn.LayerNorm(config.out_dim)
            nn.init.zeros_(self.norm.weight)
        self.markers: nn.Parameter | None = None
        if config.start_end_tokens:
            self.markers = nn.Parameter(torch.randn(4, config.out_dim))
        self.requires_grad_(True)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, hence of the residuals."""
        return self.side_map.weight.dtype

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or unfreeze, except for the idle tensors of the authors' files: always frozen."""
        super().requires_grad_(requires_grad)
        for name, parameter in self.named_parameters():
            if name == "markers" or (self.config.tie_kv and ".value." in name):
                parameter.requires_grad_(False)
        return self

    def forward(
        self,
        query: Sequence[Tensor],
        side: Sequence[Tensor | None],
        query_times: Times = None,
        side_times: Times = None,
    ) -> list[Tensor]:
        """Residuals of a batch of clips, which may all differ in length and in tokens a step.

        Args:
            query: A clip each, `[T_q, S_q, query_dim]`: the base's visual tokens.
            side: A clip each, `[T_k, S_k, side_dim]`; None or no tokens: it lacks the channel.
            query_times: A clip each, `[T_q]` seconds, non-decreasing. Used by `alignment="times"`
                alone. Without any times both sequences spread evenly over the same duration.
            side_times: A clip each, `[T_k]` seconds, non-decreasing; None where `side` is None.

        Returns:
            A clip each, `[T_q, S_q, out_dim]` in this module's dtype; exactly zero for a clip
            without side tokens, and then without a gradient to anything.

        Raises:
            ChannelError: If shapes, counts or times do not fit.
        """
        self._check(query, side, query_times, side_times)
        if self.learnt_query is not None:
            query = [self.learnt_query] * len(query)
        query_times = query_times or [None] * len(query)
        side_times = side_times or [None] * len(query)
        residuals: dict[int, Tensor] = {}  # by number of a clip
        alike: dict[int, dict[int, Frames]] = {}  # S -> number of a clip -> clip
        for i, (frames, tokens) in enumerate(zip(query, side, strict=True)):
            if tokens is None or 0 in (*frames.shape, *tokens.shape):
                shape = (*frames.shape[:2], self.config.out_dim)
                residuals[i] = self.side_map.weight.new_zeros(shape)
                continue
            clip = self._align(frames, tokens, query_times[i], side_times[i])
            alike.setdefault(frames.shape[1], {})[i] = clip
        with torch.autocast(self.side_map.weight.device.type, enabled=False):
            for clips in alike.values():  # usually one turn: all frames have equally many tokens
                batch, *others = clips.values()
                if others:  # one clip alone is not copied
                    batch = join([batch, *others])
                fused = self._fuse(batch)
                lengths = [len(clip.query) for clip in clips.values()]
                residuals.update(zip(clips, fused.split(lengths), strict=True))
        return [residuals[i] for i in range(len(query))]

    def _check(
        self,
        query: Sequence[Tensor],
        side: Sequence[Tensor | None],
        query_times: Times,
        side_times: Times,
    ) -> None:
        """Refuse what cannot fit."""
        entries = {"side tokens": side, "query_times": query_times, "side_times": side_times}
        for name, given in entries.items():
            if given is not None and len(given) != len(query):
                raise ChannelError(
                    f"{len(query)} clips need as many entries of {name}, got {len(given)}; "
                    "use None for no channel"
                )
        clips = [("side", clip, self.config.side_dim) for clip in side]
        if self.learnt_query is None:  # else the frames are not read
            clips += [("query", clip, self.config.query_dim) for clip in query]
        for name, clip, width in clips:
            if clip is not None and (clip.dim() != 3 or clip.shape[2] != width):
                got = tuple(clip.shape)
                raise ChannelError(f"{name} tokens must be [T, S, {width}], got {got}")

    def _align(
        self,
        query: Tensor,
        side: Tensor,
        query_times: Tensor | None,
        side_times: Tensor | None,
    ) -> Frames:
        """A clip's frames `[T_q, S_q, C_q]`, each with the run of `[T_k, S_k, C]` it attends."""
        clocks = None  # rotary positions by number
        if self.config.alignment == "groups":
            if len(side) < len(query):
                side = stretch(side.to(self.side_map.weight), len(query))
            first, count = by_number(len(query), len(side))
        else:
            if (query_times is None) != (side_times is None):
                raise ChannelError(
                    "both query_times and side_times must have an entry for each clip with side "
                    "tokens, or neither be given"
                )
            frame_seconds = seconds("query_times", query_times, len(query))
            step_seconds = seconds("side_times", side_times, len(side))
            clocks = (frame_seconds, step_seconds)
            first, count = by_time(*clocks)
        query_angles = query.new_empty(*query.shape[:2], 0)
        side_angles = side.new_empty(*side.shape[:2], 0)
        if self.config.rope is not None:
            query_angles, side_angles = rope.angles(query, side, clocks, self.config.head_dim)
            query_angles = query_angles.to(self.side_map.weight.device)
            side_angles = side_angles.to(self.side_map.weight.device)
        return Frames(
            query,
            side.flatten(0, 1),
            first * side.shape[1],  # from steps to tokens
            count * side.shape[1],
            query_angles,
            side_angles.flatten(0, 1),
        )

    def _fuse(self, frames: Frames) -> Tensor:
        """`[F, S, out_dim]`, as many frames at a time as `chunk` allows."""
        size = max(1, self.chunk // max(frames.query.shape[1], int(frames.length.max())))
        chunks = zip(
            frames.query.split(size),
            frames.first.split(size),
            frames.length.split(size),
            frames.query_angles.split(size),
            strict=True,
        )
        parts: list[Tensor] = []
        for query, first, length, query_angles in chunks:
            side, mask = take(frames.side, first, length)
            side_angles, _ = take(frames.side_angles, first, length)
            inputs = (query, side, mask, (query_angles, side_angles))
            if self.checkpointing and torch.is_grad_enabled():
                parts.append(checkpoint(self._residual, *inputs, use_reentrant=False))
            else:
                parts.append(self._residual(*inputs))
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts)

    def _residual(
        self,
        query: Tensor,
        side: Tensor,
        mask: Tensor | None,
        turns: Turns,
    ) -> Tensor:
        """The function proper: `[F, S, query_dim]`, `[F, L, side_dim]` -> `[F, S, out_dim]`."""
        memory = self.side_map(side.to(self.side_map.weight))
        x = self.query_map(query.to(memory))
        if mask is not None:
            mask = mask[:, None, None]  # the same for all heads and query tokens
        for block in self.blocks:
            x = block(x, memory, mask, turns)
        out: Tensor = self.dropout(self.output(x))
        if self.norm is not None:
            out = self.norm(out)
        return out
