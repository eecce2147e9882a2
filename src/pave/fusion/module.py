"""`Fusion`: g(query tokens q, side tokens s) -> residual, as the paper's code computes it.

    x = W_Q q                      M = W_M s
    x = x + Attention(x, M)        a frame's tokens attend the side tokens of its moment
    x = x + MLP(LayerNorm(x))      ... L blocks of these two
    g = LayerNorm0(MLP(x))         starts at zero, so that a fresh fusion changes nothing

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
from pave.fusion.align import Frames, by_number, by_time, join, seconds, stretch, take
from pave.fusion.config import FusionConfig
from pave.fusion.registry import OURS, register_fusion

Turns = tuple[Tensor, Tensor] | None  # rotary angles, [F, S, head_dim / 2], [F, L, head_dim / 2]


class Attention(nn.Module):
    """A frame's query tokens attend its side tokens; no output projection, as the authors'."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.heads, self.tied = config.heads, config.tie_kv
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.memory_dim, config.hidden)
        self.value = nn.Linear(config.memory_dim, config.hidden).requires_grad_(not self.tied)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None, turns: Turns) -> Tensor:
        """`[F, S, hidden]`, `[F, L, memory]`, mask `[F, 1, 1, L]` -> `[F, S, hidden]`."""
        split = (self.heads, -1)  # [F, N, hidden] -> [F, heads, N, head_dim]
        query = self.query(x).unflatten(2, split).transpose(1, 2)
        key = self.key(memory).unflatten(2, split).transpose(1, 2)
        value = key  # not yet turned
        if not self.tied:
            value = self.value(memory).unflatten(2, split).transpose(1, 2)
        if turns is not None:
            query, key = rope.rotate(query, turns[0]), rope.rotate(key, turns[1])
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

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None, turns: Turns) -> Tensor:
        """`[F, S, hidden]`, `[F, L, memory]`, mask `[F, 1, 1, L]` -> `[F, S, hidden]`."""
        x = x + self.attention(x, memory, mask, turns)
        out: Tensor = x + self.mlp(x)
        return out


@register_fusion(OURS, FusionConfig)
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
        self.checkpointing, self.chunk = False, 2**16
        self.side_map = nn.Linear(config.side_dim, config.memory_dim)
        self.query_map: nn.Linear | None = None
        self.learnt_query: nn.Parameter | None = None
        if config.learnable_query is None:
            self.query_map = nn.Linear(config.query_dim, config.hidden)
        else:
            self.learnt_query = nn.Parameter(torch.randn(*config.learnable_query, config.hidden))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Sequential()
        for inputs, outputs in config.output_widths:
            if len(self.output):
                self.output.append(nn.GELU())
            self.output.append(nn.Linear(inputs, outputs))
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.out_dim) if config.output_norm else None
        self.markers: nn.Parameter | None = None
        if config.start_end_tokens:
            self.markers = nn.Parameter(torch.randn(4, config.out_dim), requires_grad=False)
        # The authors' start: all biases of linear maps are 0, and so is the output norm.
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
        """Freeze or unfreeze, except for the idle tensors of the authors' files: always frozen."""
        super().requires_grad_(requires_grad)
        if self.config.tie_kv:
            for block in self.blocks:
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
        shapes = self._check(query, side, query_times, side_times)
        residuals: dict[int, Tensor] = {}
        alike: dict[int, dict[int, Frames]] = {}  # tokens a frame -> number of a clip -> clip
        for i, (shape, tokens) in enumerate(zip(shapes, side, strict=True)):
            if tokens is None or tokens.numel() == 0 or 0 in shape:
                residuals[i] = self.side_map.weight.new_zeros(*shape, self.config.out_dim)
                continue
            frames = query[i] if self.learnt_query is None else self.learnt_query
            times = None if query_times is None else query_times[i]
            moments = None if side_times is None else side_times[i]
            alike.setdefault(shape[1], {})[i] = self._align(frames, tokens, times, moments)
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
        *times: Sequence[object] | None,
    ) -> list[tuple[int, int]]:
        """Refuse what cannot fit; (frames, tokens a frame) of each clip's residual."""
        names = ("side tokens", "query_times", "side_times")
        for name, entries in zip(names, (side, *times), strict=True):
            if entries is not None and len(entries) != len(query):
                raise ChannelError(
                    f"{len(query)} clips need as many entries of {name}, got {len(entries)}; "
                    "use None for no channel"
                )
        if self.config.alignment == "times" and (times[0] is None) != (times[1] is None):
            raise ChannelError("give both query_times and side_times, or neither")
        wanted = {"side": (side, self.config.side_dim), "query": (query, self.config.query_dim)}
        if self.config.learnable_query is not None:
            del wanted["query"]  # the frames are not read
        for name, (clips, width) in wanted.items():
            for clip in clips:
                if clip is not None and (clip.dim() != 3 or clip.shape[2] != width):
                    got = tuple(clip.shape)
                    raise ChannelError(f"{name} tokens must be [T, S, {width}], got {got}")
        if self.config.learnable_query is not None:
            return [self.config.learnable_query] * len(query)
        return [(clip.shape[0], clip.shape[1]) for clip in query]

    def _align(
        self, query: Tensor, side: Tensor, query_times: Tensor | None, side_times: Tensor | None
    ) -> Frames:
        """A clip's frames `[T_q, S_q, C_q]`, each with the run of `[T_k, S_k, C]` it attends."""
        clocks = None
        if self.config.alignment == "groups":
            if len(side) < len(query):
                side = stretch(side.to(self.side_map.weight), len(query))
            first, count = by_number(len(query), len(side))
        else:
            if query_times is not None and side_times is None:
                raise ChannelError("side_times must have an entry for each clip with side tokens")
            clocks = (
                seconds("query_times", query_times, len(query)),
                seconds("side_times", side_times, len(side)),
            )
            first, count = by_time(*clocks)
        turns: tuple[Tensor | None, Tensor | None] = None, None
        if self.config.rope is not None:
            sizes = (len(query), query.shape[1]), (len(side), side.shape[1])
            left, right = rope.angles(*sizes, clocks, self.config.head_dim)
            device = self.side_map.weight.device
            turns = left.to(device), right.flatten(0, 1).to(device)
        width = side.shape[1]  # from steps to tokens
        return Frames(query, side.flatten(0, 1), first * width, count * width, *turns)

    def _fuse(self, frames: Frames) -> Tensor:
        """`[F, S, out_dim]`, as many frames at a time as `chunk` allows."""
        total, cells = frames.query.shape[:2]
        size = max(1, self.chunk // max(cells, int(frames.length.max())))
        parts = []
        for low in range(0, total, size):
            now = slice(low, low + size)
            runs = frames.first[now], frames.length[now]
            side, mask = take(frames.side, *runs)
            if mask is not None:
                mask = mask[:, None, None]  # the same for all heads and query tokens
            turns = None
            if frames.query_angles is not None and frames.side_angles is not None:
                turns = frames.query_angles[now], take(frames.side_angles, *runs)[0]
            inputs = frames.query[now], side, mask, turns
            if self.checkpointing and torch.is_grad_enabled():
                parts.append(checkpoint(self._residual, *inputs, use_reentrant=False))
            else:
                parts.append(self._residual(*inputs))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _residual(self, query: Tensor, side: Tensor, mask: Tensor | None, turns: Turns) -> Tensor:
        """The function proper: `[F, S, query_dim]`, `[F, L, side_dim]` -> `[F, S, out_dim]`."""
        memory = self.side_map(side.to(self.side_map.weight))
        x = query.to(memory)
        if self.query_map is not None:  # a learnt query has the blocks' width already
            x = self.query_map(x)
        for block in self.blocks:
            x = block(x, memory, mask, turns)
        out: Tensor = self.dropout(self.output(x))
        return out if self.norm is None else self.norm(out)
