"""`Fusion`: g(query tokens q, side tokens s) -> residual, as the paper's code computes it.

    x = W_Q q                      M = W_M s
    x = x + Attention(x, M)        a frame's tokens attend the side tokens of its moment
    x = x + MLP(LayerNorm(x))      ... L blocks of these two
    g = LayerNorm0(MLP(x))         starts at zero, so that a fresh fusion changes nothing

Shapes: F frames of all clips, S query tokens of a frame, L side tokens that a frame attends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pave.arguments import as_kind
from pave.errors import ChannelError
from pave.fusion import align, rope
from pave.fusion.align import Frames
from pave.fusion.gate import QuestionGate
from pave.fusion_config import FusionConfig

Times = Sequence[Tensor | None] | None  # [T] seconds of each clip


class Seen(NamedTuple):
    """What the query tokens of F frames look at."""

    memory: Tensor  # [F, L, memory], the mapped side tokens
    mask: Tensor | None  # [F, 1, 1, L], False at padding
    query_angles: Tensor  # [F, S, head_dim / 2]
    side_angles: Tensor  # [F, L, head_dim / 2]


class Attention(nn.Module):
    """A frame's query tokens attend its side tokens; no output projection, as the authors'."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.memory_dim, config.hidden)
        self.value = nn.Linear(config.memory_dim, config.hidden)

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        """`[F, S, hidden]` -> `[F, S, hidden]`."""
        query, key, value = self._parts(x, seen)
        out = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=seen.mask,
        )
        out = out.transpose(1, 2)  # [F, S, heads, head_dim]
        return out.flatten(2)

    def weights(self, x: Tensor, seen: Seen) -> Tensor:
        """How much each query token attends each side token, `[F, heads, S, L]`; rows sum to 1."""
        query, key, _ = self._parts(x, seen)
        width = query.shape[-1]
        scores: Tensor = query @ key.transpose(2, 3)
        scores = scores / width**0.5
        if seen.mask is not None:
            scores = scores.masked_fill(~seen.mask, float("-inf"))
        return scores.softmax(-1)

    def _parts(self, x: Tensor, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """Queries `[F, heads, S, head_dim]`, keys and values `[F, heads, L, head_dim]`."""
        heads = (self.config.heads, -1)
        query = self.query(x).unflatten(2, heads)
        query = query.transpose(1, 2)
        key = self.key(seen.memory).unflatten(2, heads)
        key = key.transpose(1, 2)
        value = key  # not yet turned
        if not self.config.tie_kv:
            value = self.value(seen.memory).unflatten(2, heads)
            value = value.transpose(1, 2)
        if self.config.rope is not None:
            query = rope.rotate(query, seen.query_angles)
            key = rope.rotate(key, seen.side_angles)
        return query, key, value


class Block(nn.Module):
    """x + attention(x), then x + MLP(x); attention reads x without a norm, as the authors' does."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        inner = 2 * config.hidden
        self.attention = Attention(config)
        self.mlp = nn.Sequential(
            nn.LayerNorm(config.hidden),
            nn.Linear(config.hidden, inner, bias=False),
            nn.GELU(),
            nn.Linear(inner, config.hidden, bias=False),
        )

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        """`[F, S, hidden]` -> `[F, S, hidden]`."""
        x = x + self.attention(x, seen)
        out: Tensor = x + self.mlp(x)
        return out


class Fusion(nn.Module):
    """The fusion function of a patch.

    It computes in the dtype of its own weights (float32 as built), whatever the inputs are and also
    under autocast: cast the residual as the last thing, where it is added.

    Attributes:
        checkpointing: Compute activations again for the backward pass: less memory, more time.
        chunk: Tokens worked on at a time; frames are independent, so this only bounds memory.

    Example:
        >>> fusion = Fusion(FusionConfig(side_dim=8, query_dim=6, out_dim=10, hidden=16))
        >>> query = [torch.randn(4, 9, 6), torch.randn(2, 9, 6)]
        >>> [tuple(r.shape) for r in fusion(query, [torch.randn(30, 1, 8), None])]
        [(4, 9, 10), (2, 9, 10)]
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        as_kind(config, FusionConfig, "a fusion is made from a FusionConfig")
        self.config = config
        self.checkpointing = False
        self.chunk = 2**16
        self.side_map = nn.Linear(config.side_dim, config.memory_dim)
        self.query_map: nn.Module = nn.Identity()  # a learnt query has the blocks' width already
        self.learnt_query: nn.Parameter | None = None
        if config.learnable_query is None:
            self.query_map = nn.Linear(config.query_dim, config.hidden)
        else:
            start = torch.randn(*config.learnable_query, config.hidden)
            self.learnt_query = nn.Parameter(start)
        blocks = [Block(config) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        maps: list[nn.Module] = []
        for inputs, outputs in pairwise(config.output_widths):
            maps.append(nn.GELU())
            maps.append(nn.Linear(inputs, outputs))
        self.output = nn.Sequential(*maps[1:])  # GELU between them alone
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
            start = torch.randn(4, config.out_dim)
            self.markers = nn.Parameter(start)
        # It is asked before a prefix is read, see `pave.patches.gates`, and not in `forward`.
        self.question_gate: QuestionGate | None = None
        if config.question_gate:
            self.question_gate = QuestionGate(config.out_dim)
        self.requires_grad_(True)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, hence of the residuals."""
        return self.side_map.weight.dtype

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or unfreeze, except for the idle tensors of the authors' files: always frozen."""
        super().requires_grad_(requires_grad)
        for name, parameter in self.named_parameters():
            if name == "markers":
                parameter.requires_grad_(False)
            if self.config.tie_kv and ".value." in name:
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
            query_times: A clip each, `[T_q]` seconds, non-decreasing; groups are made without.
            side_times: The same of the side, `[T_k]`. Without any, both fill the same duration.

        Returns:
            A clip each, `[T_q, S_q, out_dim]`; without side tokens zeros that have no gradient.

        Raises:
            ChannelError: If shapes, counts or times do not fit.
        """
        self._check(query, side, query_times, side_times)
        if self.learnt_query is not None:
            query = [self.learnt_query] * len(query)
        no_times = [None] * len(query)
        query_times = query_times or no_times
        side_times = side_times or no_times
        residuals: dict[int, Tensor] = {}  # by number of a clip
        alike: dict[int, dict[int, Frames]] = {}  # S -> number of a clip -> clip
        for i, (frames, tokens) in enumerate(zip(query, side, strict=True)):
            if tokens is None or not frames.numel() or not tokens.numel():
                shape = (*frames.shape[:2], self.config.out_dim)
                residuals[i] = self.side_map.weight.new_zeros(shape)
                continue
            clip = self.aligned(
                frames,
                tokens,
                query_times[i],
                side_times[i],
            )
            alike.setdefault(frames.shape[1], {})[i] = clip
        with torch.autocast(self.side_map.weight.device.type, enabled=False):
            for clips in alike.values():  # usually one turn: all frames have equally many tokens
                if len(clips) == 1:  # joined and cut, all would be copied
                    ((i, clip),) = clips.items()
                    residuals[i] = self._fuse(clip)
                    continue
                batch = align.join(list(clips.values()))
                lengths = [len(clip.query) for clip in clips.values()]
                together = self._fuse(batch)
                parts = together.split(lengths)
                residuals.update(zip(clips, parts, strict=True))
        return [residuals[i] for i in range(len(query))]

    def _check(
        self,
        query: Sequence[Tensor],
        side: Sequence[Tensor | None],
        query_times: Times,
        side_times: Times,
    ) -> None:
        entries = {
            "side tokens": side,
            "query_times": query_times,
            "side_times": side_times,
        }
        for name, given in entries.items():
            if given is not None and len(given) != len(query):
                raise ChannelError(
                    f"one entry of {name} is needed per clip ({len(query)}), got {len(given)}; "
                    "use None for a clip without the channel"
                )
        widths = [("side", side, self.config.side_dim)]
        if self.learnt_query is None:  # else the frames are not read
            widths.append(("query", query, self.config.query_dim))
        for name, clips, width in widths:
            for tokens in clips:
                if tokens is not None and tokens.shape[2:] != (width,):
                    got = tuple(tokens.shape)
                    raise ChannelError(f"{name} tokens must be [T, S, {width}], got {got}")

    def aligned(
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
                side = side.to(self.side_map.weight)
                side = align.stretch(side, len(query))
            runs = align.by_number(len(query), len(side))
        else:
            if (query_times is None) != (side_times is None):
                raise ChannelError(
                    "give query_times and side_times for every clip with side tokens, or "
                    "neither of them"
                )
            clocks = (
                align.seconds("query_times", query_times, len(query)),
                align.seconds("side_times", side_times, len(side)),
            )
            runs = align.by_time(*clocks)
        query_angles = query[:, :, :0]  # no channel turns
        side_angles = side[:, :, :0]
        if self.config.rope is not None:
            query_angles, side_angles = rope.angles(
                query,
                side,
                clocks,
                self.config.head_dim,
            )
        return Frames(
            query=query,
            side=side.flatten(0, 1),
            runs=runs * side.shape[1],  # from steps to tokens
            query_angles=query_angles,
            side_angles=side_angles.flatten(0, 1),
        )

    def _fuse(self, frames: Frames) -> Tensor:
        """`[F, S, out_dim]`, as many frames at a time as `chunk` allows."""
        residual = self._residual
        if self.checkpointing and torch.is_grad_enabled():
            residual = partial(
                checkpoint,
                residual,
                use_reentrant=False,
            )
        longest = int(frames.runs[:, 1].max())  # L
        queries = frames.query.shape[1]  # S
        most = max(queries, longest)  # tokens of a frame, query or side
        size = max(1, self.chunk // most)
        parts = []
        for start in range(0, len(frames.query), size):
            part = slice(start, start + size)
            piece = frames._replace(
                query=frames.query[part],
                runs=frames.runs[part],
                query_angles=frames.query_angles[part],
            )
            parts.append(residual(piece))
        if len(parts) == 1:
            return parts[0]  # not copied
        return torch.cat(parts)

    def _residual(self, frames: Frames) -> Tensor:
        """The function proper: `[F, S, query_dim]` -> `[F, S, out_dim]`."""
        weight = self.side_map.weight
        place, mask = align.places(frames.runs)  # [F, L]
        rows = place.to(frames.side.device)
        side = F.embedding(rows, frames.side)  # [F, L, side_dim]
        if mask is not None:
            mask = mask[:, None, None].to(weight.device)  # one for all heads and query tokens
        seen = Seen(
            memory=self.side_map(side.to(weight)),
            mask=mask,
            query_angles=frames.query_angles.to(weight.device),
            side_angles=frames.side_angles[place].to(weight.device),
        )
        query = frames.query.to(weight)
        x: Tensor = self.query_map(query)
        for block in self.blocks:
            x = block(x, seen)
        x = self.output(x)
        x = self.dropout(x)
        if self.norm is not None:
            x = self.norm(x)
        return x
