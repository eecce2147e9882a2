"""Rotary positions in time, height and width, with Qwen2-VL's split of the head and the authors' index rule.

A head of 128 channels rotates 64 pairs: 16 by time, 24 by height, 24 by width (other head sizes in
the same proportion). Time counts in steps of the finer of the two sequences, height and width in
cells of the finer grid; the coarser grid sits at cell centres.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pave.errors import ChannelError
from pave.fusion.align import Sizes, Times, unroll

BASE = 10000.0


def rotary(
    sizes: Sizes, times: Times | None, head_dim: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Angles of all query tokens and of all side tokens of a batch, flat.

    Args:
        sizes: Shapes of the batch, steps after any interpolation.
        times: None for the authors' rule (positions by number), else positions follow time.
        head_dim: Channels of a head, a multiple of 16.
        device: Where the angles are needed.

    Returns:
        `[N_q, head_dim / 2]` and `[N_k, head_dim / 2]`, float32.

    Raises:
        ChannelError: If a frame or a step is no square grid of tokens.
    """
    query_grid, side_grid = _square("query", sizes.cells), _square("side", sizes.tokens)
    finest = torch.maximum(query_grid, side_grid)
    query_time, side_time = _by_number(sizes) if times is None else _by_time(sizes, times)
    query = _positions(sizes.frames, query_grid, finest, query_time)
    side = _positions(sizes.steps, side_grid, finest, side_time)
    return _angles(query.to(device, torch.float32), head_dim), _angles(
        side.to(device, torch.float32), head_dim
    )


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate `[N, heads, head_dim]` by `[N, head_dim / 2]`: channel i pairs with channel i + head_dim / 2."""
    cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def _square(name: str, tokens: Tensor) -> Tensor:
    """Side length of each grid."""
    sides = [math.isqrt(n) for n in tokens.tolist()]
    if any(n * n != total for n, total in zip(sides, tokens.tolist(), strict=True)):
        raise ChannelError(
            f"rope='3d' needs square grids of {name} tokens, got {tokens.tolist()} tokens a step; "
            "use rope=None"
        )
    return torch.tensor(sides)


def _by_number(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """`[B, T]` positions: side steps 0, 1, ..., frames spread over them end on end and rounded down."""
    last = torch.maximum(sizes.frames, sizes.steps)[:, None] - 1
    frame = torch.arange(int(sizes.frames.max()))
    gaps = sizes.frames[:, None] - 1
    # Step first, then product, then the exact end: the order in which numpy.linspace rounds, hence
    # the authors' integers.
    spread = (frame * (last / gaps.clamp(min=1).double())).floor()
    query = torch.where((frame == gaps) & (gaps > 0), last.double(), spread)
    return query, torch.arange(int(sizes.steps.max()), dtype=torch.float64).expand(len(gaps), -1)


def _by_time(sizes: Sizes, times: Times) -> tuple[Tensor, Tensor]:
    """`[B, T]` positions proportional to time, from 0 at the first to max(T_q, T_k) - 1 at the last of both sequences."""
    both = torch.cat([times.query, times.side], 1)
    start = both.amin(1, keepdim=True)
    span = both.masked_fill(both == torch.inf, -torch.inf).amax(1, keepdim=True) - start
    unit = (torch.maximum(sizes.frames, sizes.steps)[:, None] - 1) / span.masked_fill(
        span == 0, torch.inf
    )
    return (times.query - start) * unit, (times.side - start) * unit


def _positions(steps: Tensor, grid: Tensor, finest: Tensor, time: Tensor) -> Tensor:
    """`[N, 3]` time, row and column of each flat token."""
    sample, step, place = unroll(steps, grid * grid)
    side = grid[sample]
    half = (finest / (2 * grid).double())[sample]
    rows, columns = ((2 * n + 1) * half for n in (place // side, place % side))
    return torch.stack([time[sample, step], rows.floor(), columns.floor()], -1)


def _angles(positions: Tensor, head_dim: int) -> Tensor:
    """`[N, 3]` -> `[N, head_dim / 2]`."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    axis = torch.arange(3, device=positions.device).repeat_interleave(
        torch.tensor(
            [head_dim // 8, 3 * head_dim // 16, 3 * head_dim // 16], device=positions.device
        )
    )
    return positions[:, axis] / BASE**exponent
