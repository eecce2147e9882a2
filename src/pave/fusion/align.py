"""Which side steps each frame attends, for a whole ragged batch at once and without a loop over samples or frames.

Every rule gives each frame one contiguous run of steps of its own clip, `(start, count)`. All
tensors here are small integers and times; they stay on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pave.errors import ChannelError


@dataclass(frozen=True)
class Sizes:
    """Shapes of the B clips of a batch, each an int64 tensor `[B]`.

    Attributes:
        frames: T_q.
        cells: S_q, query tokens of a frame.
        steps: T_k.
        tokens: S_k, side tokens of a step.
    """

    frames: Tensor
    cells: Tensor
    steps: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, query: Sequence[tuple[int, int]], side: Sequence[tuple[int, int]]) -> Sizes:
        """From the (T, S) pairs of the query and of the side tokens."""
        frames, cells = torch.tensor(query, dtype=torch.int64).unbind(1)
        steps, tokens = torch.tensor(side, dtype=torch.int64).unbind(1)
        return cls(frames, cells, steps, tokens)

    def sample_of_frame(self) -> Tensor:
        """`[F]`: the clip each of the batch's F frames belongs to."""
        return torch.arange(len(self.frames)).repeat_interleave(self.frames)


@dataclass(frozen=True)
class Times:
    """Times of all frames and steps of a batch in seconds, float64, padded with infinity.

    Attributes:
        query: `[B, max T_q]`.
        side: `[B, max T_k]`.
    """

    query: Tensor
    side: Tensor

    @classmethod
    def of(
        cls, sizes: Sizes, query: Sequence[Tensor] | None, side: Sequence[Tensor] | None
    ) -> Times:
        """Given times, or both channels spread evenly over the same duration (centres (i + 0.5) / T) when there are none.

        Raises:
            ChannelError: If only one of the two is given, a length is wrong, or times go backwards.
        """
        if query is None and side is None:
            return cls(_centres(sizes.frames), _centres(sizes.steps))
        if query is None or side is None:
            raise ChannelError(
                "give both query_times and side_times, or neither: one alone says nothing about "
                "the other"
            )
        return cls(_pad("query_times", query, sizes.frames), _pad("side_times", side, sizes.steps))


def _centres(lengths: Tensor) -> Tensor:
    index = torch.arange(int(lengths.max()), dtype=torch.float64)
    return ((index + 0.5) / lengths[:, None]).masked_fill(index >= lengths[:, None], torch.inf)


def _pad(name: str, times: Sequence[Tensor], lengths: Tensor) -> Tensor:
    got = [tuple(row.shape) for row in times]
    expected = [(length,) for length in lengths.tolist()]
    if got != expected:
        raise ChannelError(f"{name} must have the shapes {expected} (one time a step), got {got}")
    padded = pad_sequence([row.detach().to("cpu", torch.float64) for row in times], True, torch.inf)
    if bool((padded.diff() < 0).any()):
        raise ChannelError(f"{name} must not go backwards; sort the steps by time")
    return padded


def by_number(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """The authors' rule: T_k steps in T_q contiguous groups, the first (T_k mod T_q) of them one longer. Needs T_k >= T_q.

    Returns:
        `start [F]`, `count [F]`.
    """
    owner = sizes.sample_of_frame()
    frame = torch.arange(len(owner)) - before(sizes.frames)[owner]
    base = (sizes.steps // sizes.frames)[owner]
    longer = (sizes.steps % sizes.frames)[owner]
    return frame * base + torch.minimum(frame, longer), base + (frame < longer)


def by_time(sizes: Sizes, times: Times) -> tuple[Tensor, Tensor]:
    """A frame sees the steps of its own interval: from half-way to the frame before (included) to half-way to the next one.

    The first and the last interval are open-ended. A frame whose interval is empty sees the nearest
    step, the earlier of two.

    Returns:
        `start [F]`, `count [F]`.
    """
    query, side, steps = times.query, times.side, sizes.steps[:, None]
    borders = (query[:, :-1] + query[:, 1:]) / 2
    inner = torch.searchsorted(side, borders.contiguous())
    start = torch.cat([torch.zeros_like(steps), inner], 1)
    count = torch.cat([inner, steps], 1) - start
    # Padding frames have infinite times, so a clip's last real frame ends where the padding starts:
    # after the last step.
    after = torch.searchsorted(side, query).minimum(steps - 1)
    ahead = (after - 1).clamp(min=0)
    earlier = query - side.gather(1, ahead) <= side.gather(1, after) - query
    start = torch.where(count == 0, torch.where(earlier, ahead, after), start)
    real = torch.arange(query.shape[1]) < sizes.frames[:, None]
    return start[real], count.clamp(min=1)[real]


def before(lengths: Tensor) -> Tensor:
    """Exclusive cumulative sum: where each run begins when runs of these lengths lie one after the other."""
    return lengths.cumsum(0) - lengths


def unroll(steps: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of all tokens of a batch laid out flat: the clip, the step and the place in the step of each, `[N]`."""
    sizes = steps * width
    sample = torch.arange(len(sizes)).repeat_interleave(sizes)
    local = torch.arange(len(sample)) - before(sizes)[sample]
    return sample, local // width[sample], local % width[sample]


def stretch(sizes: Sizes) -> tuple[Tensor, Tensor, Tensor] | None:
    """Linear interpolation in time for clips with fewer steps than frames, to exactly one step a frame, ends on ends.

    The authors up-sample by a rounded scale factor, which for some frame counts (never for 32)
    yields one step too few; the exact size is what they meant.

    Returns:
        Flat token indices `low [N]`, `high [N]` and the weight of `high` `[N]`, or None if no clip
        is short.
    """
    if bool((sizes.steps >= sizes.frames).all()):
        return None
    target = torch.maximum(sizes.steps, sizes.frames)
    sample, step, place = unroll(target, sizes.tokens)
    last = (sizes.steps - 1)[sample]
    position = step * last / (target - 1).clamp(min=1)[sample].double()
    low = position.long().minimum(last)
    high = (low + 1).minimum(last)
    width = sizes.tokens[sample]
    offset = before(sizes.steps * sizes.tokens)[sample] + place
    return offset + low * width, offset + high * width, position - low
