"""`Fusion`: g(query tokens, side tokens) -> residual, for ragged batches, as the paper's code computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pave.errors import ChannelError
from pave.fusion.align import Sizes, Times, by_number, by_time, stretch
from pave.fusion.block import Block, Plan
from pave.fusion.chunks import Chunk, Gathered, budget, cut, take
from pave.fusion.config import FusionConfig
from pave.fusion.linear import Linear
from pave.fusion.registry import register_fusion
from pave.fusion.rope import rotary


@register_fusion("cross_attention", FusionConfig)
class Fusion(nn.Module):
    """The fusion function of a patch.

    Linear maps bring query and side tokens to the width of the blocks; in each block the query
    tokens of a frame attend the side tokens of the same moment; an output MLP and a
    zero-initialised norm make the residual. A fresh fusion returns exact zeros.

    It computes in the dtype of its own weights (float32 as built), whatever the inputs are and also
    under autocast: cast the residual as the last thing, where it is added.

    Args:
        config: Shapes and rules.

    Attributes:
        checkpointing: Keep no activations for the backward pass but compute them again: about a
            third more time, a small part of the memory. Off unless set.

    Example:
        >>> fusion = Fusion(FusionConfig(side_dim=8, query_dim=6, out_dim=10, hidden=16))
        >>> residuals = fusion([torch.randn(4, 9, 6), torch.randn(2, 9, 6)], [torch.randn(30, 1, 8), torch.randn(0, 1, 8)])
        >>> [tuple(r.shape) for r in residuals]
        [(4, 9, 10), (2, 9, 10)]
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.side_map = Linear(config.side_dim, config.memory_dim)
        self.query_map: Linear | None = None
        self.learnt_query: nn.Parameter | None = None
        if config.learnable_query is None:
            self.query_map = Linear(config.query_dim, config.hidden)
        else:
            self.learnt_query = nn.Parameter(torch.randn(*config.learnable_query, config.hidden))
        self.blocks = nn.ModuleList(
            Block(config.hidden, config.memory_dim, config.heads, config.tie_kv)
            for _ in range(config.layers)
        )
        self.output = nn.Sequential()
        for inputs, outputs in config.output_widths():
            if len(self.output):
                self.output.append(nn.GELU())
            self.output.append(Linear(inputs, outputs))
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.out_dim) if config.output_norm else None
        self.markers = (
            nn.Parameter(torch.randn(4, config.out_dim), requires_grad=False)
            if config.start_end_tokens
            else None
        )
        self._zero()

    def _zero(self) -> None:
        """All linear biases start at 0, and so does the output norm (the authors' initialisation)."""
        for module in self.modules():
            if isinstance(module, Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.norm is not None:
            nn.init.zeros_(self.norm.weight)
            nn.init.zeros_(self.norm.bias)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, hence of the residuals."""
        return self.side_map.weight.dtype

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or unfreeze, except for the idle tensors of the authors' files, which never take part and stay frozen."""
        super().requires_grad_(requires_grad)
        if self.config.tie_kv:
            for module in self.blocks:
                assert isinstance(module, Block)
                module.attention.value.requires_grad_(False)
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
        shapes = self._check(query, side)
        for name, times in (("query_times", query_times), ("side_times", side_times)):
            if times is not None and len(times) != len(query):
                raise ChannelError(
                    f"{len(query)} clips need as many entries of {name}, got {len(times)}"
                )
        busy = [
            i
            for i, tokens in enumerate(side)
            if tokens is not None and tokens.numel() and all(shapes[i])
        ]
        residuals: list[Tensor] = []
        if busy:
            channel = [tokens for tokens in (side[i] for i in busy) if tokens is not None]
            sizes = Sizes.of([shapes[i] for i in busy], [(t.shape[0], t.shape[1]) for t in channel])
            clock = self._times(sizes, busy, query_times, side_times)
            with torch.autocast(self.side_map.weight.device.type, enabled=False):
                residuals = self._run([query[i] for i in busy], channel, sizes, clock)
        found = dict(zip(busy, residuals, strict=True))
        return [self._shaped(found.get(i), shape) for i, shape in enumerate(shapes)]

    def _shaped(self, residual: Tensor | None, shape: tuple[int, int]) -> Tensor:
        """`[T_q, S_q, out_dim]`; zeros where there is none."""
        if residual is None:
            return self.side_map.weight.new_zeros(*shape, self.config.out_dim)
        return residual.view(*shape, self.config.out_dim)

    def _check(
        self, query: Sequence[Tensor], side: Sequence[Tensor | None]
    ) -> list[tuple[int, int]]:
        """Refuse what cannot fit and return (frames, tokens a frame) of each clip's residual."""
        if len(query) != len(side):
            raise ChannelError(
                f"{len(query)} clips need as many entries of side tokens, got {len(side)}; use "
                "None for no channel"
            )
        bad = [
            tuple(s.shape)
            for s in side
            if s is not None and (s.dim() != 3 or s.shape[2] != self.config.side_dim)
        ]
        if bad:
            raise ChannelError(f"side tokens must be [T, S, {self.config.side_dim}], got {bad[0]}")
        if self.config.learnable_query is not None:
            return [self.config.learnable_query] * len(query)
        bad = [tuple(q.shape) for q in query if q.dim() != 3 or q.shape[2] != self.config.query_dim]
        if bad:
            raise ChannelError(
                f"query tokens must be [T, S, {self.config.query_dim}], got {bad[0]}"
            )
        return [(q.shape[0], q.shape[1]) for q in query]

    def _times(
        self,
        sizes: Sizes,
        busy: Sequence[int],
        query_times: Sequence[Tensor] | None,
        side_times: Sequence[Tensor | None] | None,
    ) -> Times | None:
        """The times of the clips that have a channel, or None if this fusion aligns by number."""
        if self.config.alignment == "groups":
            return None
        frames = None if query_times is None else [query_times[i] for i in busy]
        if side_times is None:
            return Times.of(sizes, frames, None)
        steps = [times for times in (side_times[i] for i in busy) if times is not None]
        return Times.of(sizes, frames, steps)

    def _run(
        self, query: Sequence[Tensor], side: Sequence[Tensor], sizes: Sizes, times: Times | None
    ) -> list[Tensor]:
        """The function proper, on clips that all have side tokens: `[T_q * S_q, out_dim]` a clip, chunk after chunk."""
        clips = [clip.flatten(0, 1) for clip in side]
        plan = stretch(sizes) if times is None else None
        if plan is not None:
            clips = [_interpolate(self.side_map(self._ready(torch.cat(clips))), *plan)]
            sizes = replace(sizes, steps=torch.maximum(sizes.steps, sizes.frames))
        device = self.side_map.weight.device
        angles = (
            None if self.config.rope is None else rotary(sizes, times, self.config.head_dim, device)
        )
        start, count = by_number(sizes) if times is None else by_time(sizes, times)
        frames = self._frames(query)
        width = (
            max(self.config.out_dim, 2 * self.config.hidden) * self.side_map.weight.element_size()
        )
        call = self._checkpointed if self.checkpointing and torch.is_grad_enabled() else self._chunk
        lengths = (sizes.frames * sizes.cells).tolist()
        done = Gathered(lengths, torch.is_grad_enabled())
        for chunk in cut(sizes, start, count, budget(device, width), device):
            done.add(
                call(
                    take(frames, chunk.rows),
                    take(clips, chunk.side),
                    _seats(chunk, angles),
                    plan is not None,
                )
            )
        return done.clips()

    def _chunk(self, x: Tensor, memory: Tensor, plan: Plan, mapped: bool) -> Tensor:
        """A chunk's query tokens and the side tokens that its frames attend -> its residuals, `[N, out_dim]`."""
        memory = self._ready(memory)
        if not mapped:
            memory = self.side_map(memory)
        x = self._ready(x)
        if self.query_map is not None:
            x = self.query_map(x)
        for block in self.blocks:
            x = block(x, memory, plan)
        x = self.dropout(self.output(x))
        return x if self.norm is None else self.norm(x)

    def _checkpointed(self, x: Tensor, memory: Tensor, plan: Plan, mapped: bool) -> Tensor:
        """The same, computed again in the backward pass: between the two only the chunk's inputs are kept."""
        out: Tensor = checkpoint(self._chunk, x, memory, plan, mapped, use_reentrant=False)
        return out

    def _frames(self, query: Sequence[Tensor]) -> list[Tensor]:
        """`[T_q * S_q, C]` of every clip: what the base saw, or the learnt query, the same for all."""
        if self.learnt_query is None:
            return [clip.flatten(0, 1) for clip in query]
        return [self.learnt_query.flatten(0, 1)] * len(query)

    def _ready(self, x: Tensor) -> Tensor:
        """In this module's dtype and on its device; done chunk by chunk, so that no copy of the whole batch is made."""
        return x.to(self.side_map.weight.device, self.side_map.weight.dtype)


def _seats(chunk: Chunk, angles: tuple[Tensor, Tensor] | None) -> Plan:
    """Who attends whom in a chunk."""
    if angles is None:
        return Plan(chunk.frames, chunk.groups)
    return Plan(
        chunk.frames, chunk.groups, angles[0][slice(*chunk.rows)], angles[1][slice(*chunk.side)]
    )


def _interpolate(memory: Tensor, low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
    """Bring clips with fewer steps than frames to one step a frame, after the linear map as in the authors' code."""
    device = memory.device
    return torch.lerp(
        memory[low.to(device)], memory[high.to(device)], weight.to(device, memory.dtype)[:, None]
    )
