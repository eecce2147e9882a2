"""Which side tokens each frame attends: N(k) of the paper, one contiguous run of steps a frame.

Clips are joined into one batch of frames, each with a run of its own, so that a ragged batch is
fused in one go. All integers and times here are small and stay on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pave.errors import ChannelError


class Frames(NamedTuple):
    """Frames of one clip or of several, with the run of side tokens that each of them attends."""

    query: Tensor  # [F, S, C_q]
    side: Tensor  # [N, C], the clips' tokens one after the other
    first: Tensor  # [F] int, place in `side` where a frame's run begins
    count: Tensor  # [F] int, length of the run
    query_angles: Tensor | None = None  # [F, S, head_dim / 2]
    side_angles: Tensor | None = None  # [N, head_dim / 2]


def join(clips: Sequence[Frames]) -> Frames:
    """Clips whose frames have equally many query tokens as one batch of frames."""
    if len(clips) == 1:  # a view, where torch.cat would copy
        return clips[0]
    first, passed = [], 0
    for clip in clips:
        first.append(clip.first + passed)
        passed += len(clip.side)
    query, side, _, count, query_angles, side_angles = (
        None if parts[0] is None else torch.cat(parts) for parts in zip(*clips, strict=True)
    )
    return Frames(query, side, torch.cat(first), count, query_angles, side_angles)


def take(tokens: Tensor, first: Tensor, count: Tensor) -> tuple[Tensor, Tensor | None]:
    """Each frame's run of tokens, padded to the longest.

    Args:
        tokens: `[N, C]`.
        first: `[f]` where each run begins.
        count: `[f]` how long it is.

    Returns:
        `[f, L, C]`, and a mask `[f, L]` that is True at real tokens, or None if all are real.
    """
    place = torch.arange(int(count.max()))  # [L]
    real = place < count[:, None]  # [f, L]
    index = first[:, None] + place * real  # padding repeats the run's first token
    block = tokens.index_select(0, index.flatten().to(tokens.device)).unflatten(0, index.shape)
    if bool(real.all()):
        return block, None  # without a mask attention has faster kernels
    return block, real.to(tokens.device)


def by_number(frames: int, steps: int) -> tuple[Tensor, Tensor]:
    """The authors' rule: T_k >= T_q steps in T_q groups, the first (T_k mod T_q) one step longer.

    Returns:
        First step and number of steps of each frame, `[T_q]` each.
    """
    shorter, longer = divmod(steps, frames)
    frame = torch.arange(frames)
    return frame * shorter + frame.clamp(max=longer), shorter + (frame < longer).long()


def by_time(query: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """A frame sees the steps between the half-way points to its neighbours, or else the nearest one.

    The first and the last interval are open-ended; of two equally near steps the earlier one wins.

    Args:
        query: `[T_q]` seconds of the frames, non-decreasing.
        side: `[T_k]` seconds of the steps, non-decreasing.

    Returns:
        First step and number of steps of each frame, `[T_q]` each.
    """
    borders = (query[:-1] + query[1:]) / 2  # [T_q - 1]
    inner = torch.searchsorted(side, borders)  # the first step at or after each border
    begin = F.pad(inner, (1, 0), value=0)
    end = F.pad(inner, (0, 1), value=len(side))
    after = torch.searchsorted(side, query).clamp(max=len(side) - 1)
    before = (after - 1).clamp(min=0)
    nearest = torch.where(query - side[before] <= side[after] - query, before, after)
    return torch.where(begin == end, nearest, begin), (end - begin).clamp(min=1)


def stretch(side: Tensor, frames: int) -> Tensor:
    """`[T_k, S_k, C]` -> `[T_q, S_k, C]` by linear interpolation in time, ends on ends.

    The authors interpolate after the linear map, which comes to the same: both are linear. They
    give a rounded scale factor, which for some frame counts (never for 32) yields one step too few;
    the exact size is what they meant.
    """
    channels = side.flatten(1).T[None]  # [1, S_k * C, T_k]
    longer = F.interpolate(channels, size=frames, mode="linear", align_corners=True)
    return longer[0].T.unflatten(1, side.shape[1:])


def seconds(name: str, times: Tensor, length: int) -> Tensor:
    """A clip's times in float64 on the CPU, if there is one for each step and none goes backwards.

    Raises:
        ChannelError: If not.
    """
    if times.shape != (length,):
        raise ChannelError(
            f"{name} must have one time a step, {(length,)}, got {tuple(times.shape)}"
        )
    times = times.detach().to("cpu", torch.float64)
    if bool((times.diff() < 0).any()):
        raise ChannelError(f"{name} must not go backwards; sort the steps by time")
    return times


def spread(length: int) -> Tensor:
    """Times for a sequence that has none: centres of equal parts of one duration."""
    return (torch.arange(length, dtype=torch.float64) + 0.5) / length
