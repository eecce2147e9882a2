"""`Tower`: what an encoder may ask of the base.

Other cameras, fast frames and 3D frames need no weights of their own that way. Channels stand below
bases and know nothing of them. A base hands itself down as an object of this shape
(`pave.bases.tower_of(base)`), and `make_encoder(..., tower=...)` gives it to the encoders that were
registered with `needs_tower=True`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.channels.encoder import must_hold_tokens
from pave.errors import ChannelError

if TYPE_CHECKING:  # listing encoders must not load a decoder
    from pave.media import Frames

CHUNK = 8
"""Frames that go through a tower together."""


@dataclass(frozen=True)
class Cells:
    """A tower's tokens of some frames, still as a picture.

    Attributes:
        values: `[T, h, w, C]` float32 on the CPU: tokens before the projector, pooled to the base's
            token grid.
        times: `[T]` float64 seconds. T is the number of frames, or fewer where the tower merges
            frames in time.
    """

    values: Tensor
    times: Tensor


@dataclass(frozen=True)
class Window:
    """The part of a picture that a tower sees, as fractions of its height and width.

    All of it, unless the base crops.
    """

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0


class Tower(Protocol):
    """The frozen visual tower of a base."""

    @property
    def dim(self) -> int:
        """C, the features of one token."""
        ...

    @property
    def frames_per_step(self) -> int:
        """Frames that the tower merges into one step in time; 1 but for the Qwen families."""
        ...

    @property
    def digest(self) -> str:
        """What the tokens depend on: weights, preprocessing, layout. Part of cached tokens' key."""
        ...

    def cells(self, frames: Frames) -> Cells:
        """Tokens of decoded frames; a few at a time, because they go through the tower together."""
        ...

    def window(self, height: int, width: int) -> Window:
        """Which part of pictures of this size the tower sees."""
        ...


def pool(values: Tensor, side: int) -> Tensor:
    """Mean over a `side` x `side` grid of regions, flattened row by row.

    Args:
        values: `[T, h, w, C]`.
        side: Rows and columns that remain.

    Returns:
        `[T, side * side, C]`.

    Example:
        >>> pool(torch.arange(4.0).view(1, 2, 2, 1), 1).item()
        1.5
    """
    means = F.adaptive_avg_pool2d(values.permute(0, 3, 1, 2), side)  # [T, C, side, side]
    return means.flatten(2).transpose(1, 2)


def encode_chunks(
    tower: Tower, chunks: Iterable[Frames], side: int | None
) -> tuple[Tensor, Tensor]:
    """Run chunks of frames through a tower, keeping only tokens.

    So memory does not grow with the frames. A last chunk that is shorter than the others is filled
    up with its last frame, whose tokens are dropped again: some bases share a budget of pixels
    among the frames they see together, and would see the last ones larger.

    Args:
        tower: The tower.
        chunks: At least one chunk of frames, in order of time, all of one length but the last.
        side: Pool to `side` x `side` tokens; None keeps the base's grid.

    Returns:
        `[T, S, C]` values and `[T]` times.

    Raises:
        ChannelError: If the frames' grids differ and are not pooled to one, or there are more
            tokens than memory is meant for.
    """
    values: list[Tensor] = []
    times: list[Tensor] = []
    held = 0  # steps
    size = 0  # frames of the first chunk, and of all others but the last
    for frames in chunks:
        count = len(frames.times)
        size = size or count
        whole = frames
        if count != size:
            whole = _filled(frames, size)
        cells = tower.cells(whole)
        # Rounded up: a step that merges a real frame with a repeated one counts.
        steps = -(-count * len(cells.times) // size)
        grid = cells.values[:steps]  # [steps, h, w, C]
        # Of all chunks so far, at least.
        held += steps
        tokens = grid.shape[1] * grid.shape[2]
        if side is not None:
            tokens = side * side
        must_hold_tokens("the base's tower", held, tokens, grid.shape[3])
        if side is None:
            values.append(grid.flatten(1, 2))
        else:
            values.append(pool(grid, side))
        times.append(cells.times[:steps])
    if len({tuple(part.shape[1:]) for part in values}) > 1:
        raise ChannelError(
            "frames of different sizes give different token grids; set `side` to pool them all to "
            "one size"
        )
    return torch.cat(values), torch.cat(times)


def _filled(frames: Frames, size: int) -> Frames:
    """The frames, the last one repeated until there are `size`."""
    index = torch.arange(size).clamp_max(len(frames.times) - 1)  # 0, 1, ..., last, last, last
    return type(frames)(frames.pixels[index], frames.times[index])
