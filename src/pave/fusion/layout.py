"""`Runs`: a ragged batch of token runs, read from flat `[N, ...]` tensors as one padded block and written back.

This is what lets one masked attention serve clips of different lengths and frames with different
numbers of side tokens: the projections work on flat tokens, padding exists only inside the
attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pave.fusion.align import Sizes, before


@dataclass(frozen=True)
class Runs:
    """F runs of at most L consecutive tokens.

    Attributes:
        rows: F.
        width: L.
        index: `[F, L]` flat token of each place (padding repeats the run's first), or None if the
            runs tile the flat tensor.
        mask: `[F, L]`, True at real tokens, or None if no run is padded.
        shortest: Length of the shortest run; padding begins there at the earliest.
    """

    rows: int
    width: int
    index: Tensor | None
    mask: Tensor | None
    shortest: int

    @classmethod
    def of(cls, start: Tensor, count: Tensor, total: int, device: torch.device) -> Runs:
        """From each run's first flat token and length (both `[F]`, CPU) out of `total` tokens."""
        width = int(count.max())
        place = torch.arange(width)
        even = bool((count == width).all())
        if (
            even
            and len(start) * width == total
            and torch.equal(start, torch.arange(len(start)) * width)
        ):
            return cls(len(start), width, None, None, width)
        real = place < count[:, None]
        index = start[:, None] + place * real
        return cls(
            len(start), width, index.to(device), None if even else real.to(device), int(count.min())
        )

    def take(self, flat: Tensor, dim: int = 0) -> Tensor:
        """`[..., N, ...]` -> `[..., F, L, ...]`, N being dimension `dim`."""
        if self.index is not None:
            flat = flat.index_select(dim, self.index.flatten())
        block: Tensor = flat.unflatten(dim, (self.rows, self.width))
        return block

    def put(self, block: Tensor) -> Tensor:
        """`[F, L, ...]` -> `[N, ...]`, without the padding. Only for runs that cover every token once, in order."""
        return block.flatten(0, 1) if self.mask is None else block[self.mask]


def query_runs(sizes: Sizes, device: torch.device) -> Runs:
    """The query tokens of each frame."""
    cells = sizes.cells[sizes.sample_of_frame()]
    return Runs.of(before(cells), cells, int(cells.sum()), device)


def side_runs(sizes: Sizes, start: Tensor, count: Tensor, device: torch.device) -> Runs:
    """The side tokens of each frame, from its run of steps (`start`, `count`, both `[F]`)."""
    owner = sizes.sample_of_frame()
    width = sizes.tokens[owner]
    flat = sizes.steps * sizes.tokens
    return Runs.of(before(flat)[owner] + start * width, count * width, int(flat.sum()), device)
