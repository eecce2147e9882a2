"""Rotary positions in time, height and width, by the authors' rules.

Of a head's 64 pairs of channels 16 turn by time, 24 by height, 24 by width (other sizes in
proportion). Time counts in steps of the finer sequence, space in cells of the finer grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pave.errors import ChannelError

BASE = 10000.0


def angles(
    query: Tensor,
    side: Tensor,
    times: tuple[Tensor, Tensor] | None,
    head_dim: int,
) -> tuple[Tensor, Tensor]:
    """How far each pair of channels of a clip's tokens turns.

    Args:
        query: `[T_q, S_q, C]`.
        side: `[T_k, S_k, C]`, steps after any interpolation.
        times: Seconds of frames and steps; None for the authors' rule, by number.
        head_dim: Channels of a head, a multiple of 16.

    Returns:
        `[T_q, S_q, head_dim / 2]` and `[T_k, S_k, head_dim / 2]`, float32 on the CPU.

    Raises:
        ChannelError: If a frame or a step is no square grid of tokens.
    """
    query_grid = _grid("query", query.shape[1])
    side_grid = _grid("side", side.shape[1])
    if times is None:
        query_clock, side_clock = _by_number(len(query), len(side))
    else:
        query_clock, side_clock = _by_time(*times)
    finest = max(query_grid, side_grid)
    query_angles = _angles(query_clock, query_grid, finest, head_dim)
    side_angles = _angles(side_clock, side_grid, finest, head_dim)
    return query_angles, side_angles


def _angles(clock: Tensor, grid: int, finest: int, head_dim: int) -> Tensor:
    """Places in time `[T]`, cells of a step along a side -> `[T, grid * grid, head_dim / 2]`."""
    sections = torch.tensor([head_dim // 8, 3 * head_dim // 16, 3 * head_dim // 16])
    axis = torch.arange(3).repeat_interleave(sections)  # [head_dim / 2]: time, row or column
    speed: Tensor = BASE ** (torch.arange(0, head_dim, 2) / head_dim)
    # The finer grid's cells sit at 0, 1, ..., the coarser one's where their centres fall.
    centre = (2 * torch.arange(grid) + 1) * (finest / (2 * grid))
    cell = centre.floor().double()
    place = torch.cartesian_prod(clock, cell, cell)  # [T * S, 3]
    turned: Tensor = (place[:, axis].float() / speed).unflatten(0, (len(clock), -1))
    return turned  # [T, S, head_dim / 2]


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn `[F, heads, N, head_dim]` by `[F, N, head_dim / 2]`: channel i pairs with i + half."""
    cos = angle.cos().to(x.dtype)[:, None]
    sin = angle.sin().to(x.dtype)[:, None]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _by_number(frames: int, steps: int) -> tuple[Tensor, Tensor]:
    """Steps at 0, 1, ..., frames spread over them end on end and rounded down."""
    last = max(frames, steps) - 1
    # Quotient, product, then the exact end: as numpy.linspace rounds, hence the authors' integers.
    gap = last / max(frames - 1, 1)
    query = (torch.arange(frames, dtype=torch.float64) * gap).floor()
    if frames > 1:
        query[-1] = last
    return query, torch.arange(steps, dtype=torch.float64)


def _by_time(query: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Proportional to time: 0 at the first moment of both, max(T_q, T_k) - 1 at the last."""
    both = torch.cat([query, side])
    start = both.min()
    span = (both.max() - start).clamp(min=1e-12)  # a single moment is at 0 anyway
    unit = (max(len(query), len(side)) - 1) / span
    return (query - start) * unit, (side - start) * unit


def _grid(name: str, tokens: int) -> int:
    """Side of a square grid of tokens."""
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ChannelError(f"rope='3d' needs square grids of {name} tokens, got {tokens} a step")
    return side
