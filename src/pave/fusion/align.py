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
    runs: Tensor  # [F, 2] int, on the CPU: where a frame's run begins in `side`, and its length
    query_angles: Tensor  # [F, S, head_dim / 2], without rope [F, S, 0]
    side_angles: Tensor  # [N, head_dim / 2], without rope [N, 0]


def join(clips: list[Frames]) -> Frames:
    """Clips whose frames have equally many tokens as one batch of frames."""
    shifted = []
    passed = 0
    for clip in clips:
        runs = clip.runs + torch.tensor([passed, 0])
        shifted.append(clip._replace(runs=runs))
        passed += len(clip.side)
    fields = zip(*shifted, strict=True)  # all queries, all side tokens, ...
    return Frames(*map(torch.cat, fields))


def places(runs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Where the tokens of runs `[F, 2]` lie, `[F, L]`, and which are no padding, `[F, L]`."""
    first, length = runs.T
    longest = int(length.max())
    offset = torch.arange(longest)  # [L]
    is_real = offset < length[:, None]  # [F, L]
    step = offset * is_real  # padding repeats a run's first token
    place = first[:, None] + step
    if bool(is_real.all()):
        return place, None  # without a mask attention has faster kernels
    return place, is_real


def by_number(frames: int, steps: int) -> Tensor:
    """The authors' rule, T_k >= T_q steps in T_q groups: where each begins, and its length."""
    shorter, longer = divmod(steps, frames)  # the first `longer` groups are one step longer
    frame = torch.arange(frames)
    longer_before = frame.clamp(max=longer)
    first = frame * shorter + longer_before  # behind all frames before it
    is_longer = frame < longer
    count = shorter + is_longer.long()
    return torch.stack([first, count], 1)


def by_time(query: Tensor, side: Tensor) -> Tensor:
    """A frame sees the steps from half-way to its neighbours, or else the nearest one.

    Seconds `[T_q]` and `[T_k]` -> first step and number of steps of each frame, `[T_q, 2]`. The
    first and the last interval are open-ended; of two equally near steps the earlier one wins.
    """
    borders = (query[:-1] + query[1:]) / 2  # [T_q - 1], half-way between neighbours
    inner = torch.searchsorted(side, borders)  # the first step at or after each border
    begin = F.pad(inner, (1, 0))
    end = F.pad(inner, (0, 1), value=len(side))
    turns = (side[:-1] + side[1:]) / 2  # [T_k - 1], where another step becomes the nearest one
    nearest = torch.searchsorted(turns, query)
    first = torch.where(begin == end, nearest, begin)  # empty where it ends at its beginning
    count = (end - begin).clamp(min=1)
    return torch.stack([first, count], 1)


def stretch(side: Tensor, frames: int) -> Tensor:
    """`[T_k, S_k, C]` -> `[T_q, S_k, C]` by linear interpolation in time, ends on ends.

    The authors interpolate behind the linear map, which is the same but for rounding, and by a
    rounded factor, which for some frame counts (never for 32) yields one step too few.
    """
    rows = side.flatten(1).T  # [S_k * C, T_k]
    longer = F.interpolate(
        rows[None],
        size=frames,
        mode="linear",
        align_corners=True,
    )
    return longer[0].T.reshape(frames, *side.shape[1:])


def seconds(
    name: str,
    times: Tensor | None,
    length: int,
) -> Tensor:
    """`[length]` times, float64 on the CPU; without any, centres of equal parts of a duration."""
    if times is None:
        part = torch.arange(length, dtype=torch.float64)
        return (part + 0.5) / length
    if times.shape != (length,):
        got = tuple(times.shape)
        raise ChannelError(f"{name} must have one time per step, shape {(length,)}, got {got}")
    times = times.detach().to("cpu", torch.float64)
    steps = times.diff()
    if bool((steps < 0).any()):
        raise ChannelError(f"{name} must not go backwards; sort the steps by time")
    return times
