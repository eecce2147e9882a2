"""`Clip`, `Layout` and `Visual`: one clip on its way through a tower, in one form for every family.

Families return visual tokens in different containers (one tensor for the batch, a tuple with one
tensor a clip, one row a frame). A `Family` splits that container into one `Visual` a clip and joins
it again; everything that adds residuals, caches tower outputs or counts tokens works on `Visual`
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """One video as a base's tower eats it.

    Attributes:
        pixels: Keyword tensors for the tower method, with a leading clip axis where the family has
            one (a batch of one clip).
        times: `[T]` float64 seconds, the centre of each token step (the mean of the raw frames that
            the tower merges).
        text: The placeholder text that stands for the clip in the prompt, timestamps included where
            the family writes them.
        frames: Raw frames that went in (after any padding by the family).
    """

    pixels: Mapping[str, Tensor]
    times: Tensor
    text: str
    frames: int


@dataclass(frozen=True)
class Layout:
    """Where the spatial tokens sit in a clip's flat token sequence.

    The sequence is `lead + t * (cls + h * (w + row) + tail) + trail` long. Only the `t * h * w`
    spatial tokens get residuals; the others stay as the base makes them.

    Attributes:
        t: Steps in time (after any temporal merging by the tower).
        h: Rows of tokens a step.
        w: Columns of tokens a step.
        cls: Tokens in front of each step that stand for no place (Video-LLaVA keeps CLS).
        lead: Tokens before the first step.
        trail: Tokens after the last step (LLaVA-OneVision's newline).
        row: Tokens after each row (the newlines of the authors' 'grid' layout).
        tail: Tokens after the last row of each step.

    Example:
        >>> Layout(32, 14, 14, row=1).total
        6720
    """

    t: int
    h: int
    w: int
    cls: int = 0
    lead: int = 0
    trail: int = 0
    row: int = 0
    tail: int = 0

    @property
    def spatial(self) -> int:
        """S = h * w, the tokens of one step that a patch may change."""
        return self.h * self.w

    @property
    def total(self) -> int:
        """All tokens of the clip as the language model sees them."""
        step = self.cls + self.h * (self.w + self.row) + self.tail
        return self.lead + self.t * step + self.trail


@dataclass(frozen=True)
class Visual:
    """The frozen base's visual tokens of one clip: all that a patch needs, so it can be cached.

    Attributes:
        tokens: `[layout.total, D]` projected tokens as the language model would get them.
        query: `[T, S, C_q]` tower tokens before the projector, pooled to the token grid; None when
            not asked for.
        layout: Where the spatial tokens sit in `tokens`.
        extra: Further features of the clip that travel with the tokens untouched (Qwen3-VL's
            deepstack), one tensor a level.
        room: Tokens at the end, counted in `layout.trail`, that wait for side tokens.
    """

    tokens: Tensor
    layout: Layout
    query: Tensor | None = None
    extra: tuple[Tensor, ...] = ()
    room: int = 0

    def to(self, device: torch.device) -> Visual:
        """The same visual tokens on a device."""
        query = self.query
        if query is not None:
            query = query.to(device)
        extra = tuple(tensor.to(device) for tensor in self.extra)
        return replace(self, tokens=self.tokens.to(device), query=query, extra=extra)

    def grid(self) -> Tensor:
        """The spatial tokens as `[T, S, D]`, without CLS and newline tokens."""
        lay = self.layout
        body: Tensor = self.tokens[lay.lead : lay.total - lay.trail]  # [T * step, D]
        steps: Tensor = body.unflatten(0, (lay.t, -1))  # [T, tokens of a step, D]
        rows: Tensor = steps[:, lay.cls : steps.shape[1] - lay.tail]  # [T, h * (w + row), D]
        cells: Tensor = rows.unflatten(1, (lay.h, lay.w + lay.row))  # [T, h, w + row, D]
        return cells[:, :, : lay.w].flatten(1, 2)
