"""Which side tokens each frame attends: N(k) of the paper, a run of neighbouring steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pave.errors import ChannelError


class Frames(NamedTuple):
    """Frames of a clip, or of several, each with the run of side tokens that it attends."""

    query: Tensor  # [F, S, C_q]
    side: Tensor  # [N, C], the clips' tokens one after the other
    first: Tensor  # [F] int, on the CPU: place in `side` where a frame's run begins
    length: Tensor  # [F] int, on the CPU: length of the run
    query_angles: Tensor  # [F, S, head_dim / 2], without rope [F, S, 0]
    side_angles: Tensor  # [N, head_dim / 2], without rope [N, 0]


def join(clips: list[Frames]) -> Frames:
    """Clips whose frames have equally many tokens as one batch of frames."""
    shifted = []
    passed = 0
    for clip in clips:
        shifted.append(clip._replace(first=clip.first + passed))
        passed += len(clip.side)
    return Frames(*map(torch.cat, zip(*shifted, strict=True)))


def take(tokens: Tensor, first: Tensor, length: Tensor) -> tuple[Tensor, Tensor | None]:
    """Runs of `[N, C]` as `[f, L, C]`, padded to the longest; mask `[f, L]`, None if none is."""
    place = torch.arange(int(length.max()))  # [L]
    real = place < length[:, None]  # [f, L]
    index = first[:, None] + place * real  # padding repeats a run's first token
    rows = tokens.index_select(0, index.flatten().to(tokens.device))
    runs = rows.unflatten(0, index.shape)
    if bool(real.all()):  # without a mask attention has faster kernels
        return runs, None
    return runs, real.to(tokens.device)


def by_number(frames: int, steps: int) -> tuple[Tensor, Tensor]:
    """The authors' rule: T_k >= T_q steps in T_q groups, the first (T_k mod T_q) one step longer.

    Returns:
        First step and number of steps of each frame, `[T_q]` each.
    """
    shorter, longer = divmod(steps, frames)
    frame = torch.arange(frames)
    first = frame * shorter + frame.clamp(max=longer)
    return first, shorter + (frame < longer).long()


def by_time(query: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """A frame sees the steps from half-way to its neighbours, or else the nearest one.

    The first and the last interval are open-ended; of two equally near steps the earlier one wins.

    Args:
        query: `[T_q]` seconds of the frames.
        side: `[T_k]` seconds of the steps.

    Returns:
        First step and number of steps of each frame, `[T_q]` each.
    """
    borders = (query[:-1] + query[1:]) / 2  # [T_q - 1]
    inner = torch.searchsorted(side, borders)  # the first step at or after each border
    begin = F.pad(inner, (1, 0), value=0)
    end = F.pad(inner, (0, 1), value=len(side))
    after = torch.searchsorted(side, query).clamp(max=len(side) - 1)
    before = (after - 1).clamp(min=0)
    is_earlier = query - side[before] <= side[after] - query
    nearest = torch.where(is_earlier, before, after)
    return torch.where(begin == end, nearest, begin), (end - begin).clamp(min=1)


def stretch(side: Tensor, frames: int) -> Tensor:
    """`[T_k, S_k, C]` -> `[T_q, S_k, C]` by linear interpolation in time, ends on ends.

    The authors interpolate behind the linear map, which is the same but for rounding, and by a
    rounded factor, which for some frame counts (never for 32) yields one step too few.
    """
    rows = side.flatten(1).T[None]  # [1, S_k * C, T_k]
    longer = F.interpolate(rows, size=frames, mode="linear", align_corners=True)
    return longer[0].T.reshape(frames, *side.shape[1:])


def seconds(name: str, times: Tensor | None, length: int) -> Tensor:
    """`[length]` times, float64 on the CPU; without any, centres of equal parts of a duration."""
    if times is None:
        return (torch.arange(length, dtype=torch.float64) + 0.5) / length
    if times.shape != (length,):
        got = tuple(times.shape)
        raise ChannelError(f"{name} must have one time a step, shape {(length,)}, got {got}")
    times = times.detach().to("cpu", torch.float64)
    if bool((times.diff() < 0).any()):
        raise ChannelError(f"{name} must not go backwards; sort the steps by time")
    return times
