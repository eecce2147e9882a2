"""A ragged batch cut into chunks of neighbouring frames, so that memory does not grow with the batch.

The fusion function treats frames independently: a chunk of frames and the side tokens they attend
are all it needs at a time. A chunk is as many frames as keep its widest activation within a budget.
On a CPU all activations of a chunk together should be what the allocator hands out again: blocks
above 32 MB, and what lies free at the heap's end beyond some 50 MB, go back to the system, and
every page of them is paid for anew, several times the arithmetic of a layer norm (`make bench
ARGS=kernels`). On other devices the budget only bounds memory. A chunk may hold many small clips or
a part of a large one; its tokens are views where they lie in one clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pave.fusion.align import Sizes, before
from pave.fusion.layout import Runs

CPU_BYTES, OTHER_BYTES = 8_000_000, 1_000_000_000


@dataclass(frozen=True)
class Chunk:
    """Frames of one batch that are worked on together.

    Attributes:
        rows: Flat query tokens (first, last + 1).
        side: Flat side tokens that its frames attend (first, last + 1).
        frames: The query tokens of each frame, within `rows`.
        groups: The side tokens each frame attends, within `side`.
    """

    rows: tuple[int, int]
    side: tuple[int, int]
    frames: Runs
    groups: Runs


def budget(device: torch.device, bytes_a_row: int) -> int:
    """Query tokens of a chunk whose widest activation takes this much memory a token."""
    return max(1, (CPU_BYTES if device.type == "cpu" else OTHER_BYTES) // bytes_a_row)


def cut(
    sizes: Sizes, start: Tensor, count: Tensor, rows: int, device: torch.device
) -> Iterator[Chunk]:
    """Chunks of at most about `rows` query tokens (at least one frame each), as even as they come.

    Args:
        sizes: Shapes of the batch, steps after any interpolation.
        start: `[F]` first side step of each frame in its clip.
        count: `[F]` side steps of each frame.
        rows: See `budget`.
        device: Where the tokens are.
    """
    owner = sizes.sample_of_frame()
    cells, width = sizes.cells[owner], sizes.tokens[owner]
    row = before(cells)
    first = before(sizes.steps * sizes.tokens)[owner] + start * width
    length = count * width
    total = int(cells.sum())
    pieces = -(-total // rows)
    # The chunk of a frame is where its middle lies when all rows are divided evenly.
    _, frames = torch.unique_consecutive(
        (2 * row + cells) * pieces // (2 * total), return_counts=True
    )
    for r, c, f, n in zip(
        *(part.split(frames.tolist()) for part in (row, cells, first, length)), strict=True
    ):
        low, high = int(f.min()), int((f + n).max())
        begin, end = int(r[0]), int(r[-1] + c[-1])
        yield Chunk(
            (begin, end),
            (low, high),
            Runs.of(r - begin, c, end - begin, device),
            Runs.of(f - low, n, high - low, device),
        )


def take(clips: Sequence[Tensor], span: tuple[int, int]) -> Tensor:
    """Rows of the flat `[N, C]` tensor that the clips `[n, C]` would make one after the other; a view within one clip."""
    low, high = span
    parts, offset = [], 0
    for clip in clips:
        if offset < high and low < offset + len(clip):
            # Whole clips go unsliced: the gradient of a slice is a tensor of zeros to fill in.
            inner = low <= offset and offset + len(clip) <= high
            parts.append(clip if inner else clip[max(low - offset, 0) : high - offset])
        offset += len(clip)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Gathered:
    """Puts the chunks' results `[n, C]`, which come in order, together to one tensor a clip.

    Without gradients each result is copied to its place at once, so that no chunk outlives its
    turn. Where a graph is recorded they are concatenated at the end: writing into one tensor would
    make autograd copy all of it once a chunk.

    Args:
        lengths: Rows of each clip.
        recording: Whether a graph is recorded.
    """

    def __init__(self, lengths: Sequence[int], recording: bool) -> None:
        self.lengths, self.recording = list(lengths), recording
        self.parts: list[Tensor] = []
        self.whole: list[Tensor] = []
        self.rows = 0

    def add(self, part: Tensor) -> None:
        """The next rows."""
        if self.recording:
            self.parts.append(part)
            return
        if not self.whole:
            self.whole = [part.new_empty(length, part.shape[1]) for length in self.lengths]
        begin, offset = self.rows, 0
        self.rows += len(part)
        for clip in self.whole:
            low, high = max(begin, offset), min(self.rows, offset + len(clip))
            if low < high:
                clip[low - offset : high - offset] = part[low - begin : high - begin]
            offset += len(clip)

    def clips(self) -> list[Tensor]:
        """One tensor a clip."""
        if self.whole:
            return self.whole
        offsets = [sum(self.lengths[:i]) for i in range(len(self.lengths))]
        return [
            take(self.parts, (offset, offset + n))
            for offset, n in zip(offsets, self.lengths, strict=True)
        ]
