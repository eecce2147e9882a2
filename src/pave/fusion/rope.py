"""Rotary positions in time, height and width, by the authors' rules.

Of a head's 64 pairs of channels 16 turn by time, 24 by height, 24 by width (other sizes in
proportion). Time counts in steps of the finer sequence, space in cells of the finer grid.
"""

from __future__ import annotations

import math

import numpy
import torch
from torch import Tensor

from pave.errors import ChannelError

BASE = 10000.0

Two = tuple[Tensor, Tensor]  # something of the query tokens, and the same of the side tokens


def angles(
    query: Tensor,
    side: Tensor,
    times: Two | None,
    head_dim: int,
) -> Two:
    """`[T, S, C]` -> `[T, S, head_dim / 2]`: how far each pair of channels turns, on the CPU."""
    query_grid = _grid("query", query.shape[1])
    side_grid = _grid("side", side.shape[1])
    clocks = _by_number(len(query), len(side))
    if times is not None:  # seconds of frames and steps
        clocks = _by_time(*times)
    finest = max(query_grid, side_grid)
    query_angles = _angles(clocks[0], query_grid, finest, head_dim)
    side_angles = _angles(clocks[1], side_grid, finest, head_dim)
    return query_angles, side_angles


def _angles(
    clock: Tensor,
    grid: int,
    finest: int,
    head_dim: int,
) -> Tensor:
    """Places in time `[T]`, cells of a step along a side -> `[T, grid * grid, head_dim / 2]`."""
    # The finer grid's cells sit at 0, 1, ..., the coarser one's where their centres fall.
    cell = torch.arange(grid)
    centre = (2 * cell + 1) * (finest / (2 * grid))
    cell = centre.floor().double()
    place = torch.cartesian_prod(clock, cell, cell)  # [T * S, 3]
    pairs = [
        head_dim // 8,  # turn by time
        3 * head_dim // 16,  # by row
        3 * head_dim // 16,  # by column
    ]
    place = place.repeat_interleave(torch.tensor(pairs), dim=1)  # [T * S, head_dim / 2]
    channel = torch.arange(0, head_dim, 2)
    speed = torch.pow(BASE, channel / head_dim)
    angle = place.float() / speed
    return angle.reshape(len(clock), grid * grid, -1)


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn `[F, heads, N, head_dim]` by `[F, N, head_dim / 2]`: channel i pairs with i + half."""
    angle = angle[:, None]  # the same for all heads
    cos = angle.cos().to(x)
    sin = angle.sin().to(x)
    a, b = x.chunk(2, -1)
    turned_a = a * cos - b * sin
    turned_b = b * cos + a * sin
    return torch.cat([turned_a, turned_b], -1)


def _by_number(frames: int, steps: int) -> Two:
    """Steps at 0, 1, ..., frames spread over them end on end and rounded down."""
    last = max(frames, steps) - 1
    query = numpy.linspace(0, last, frames)  # as the authors: other roundings, other integers
    side = torch.arange(steps, dtype=torch.float64)
    return torch.from_numpy(query).floor(), side


def _by_time(query: Tensor, side: Tensor) -> Two:
    """Proportional to time: 0 at the first moment of both, max(T_q, T_k) - 1 at the last."""
    both = torch.cat([query, side])
    start, end = both.aminmax()
    span = end - start
    span = span.clamp(min=1e-12)  # a single moment is at 0 anyway
    last = max(len(query), len(side)) - 1
    unit = last / span
    place = (both - start) * unit
    return place[: len(query)], place[len(query) :]


def _grid(name: str, tokens: int) -> int:
    """Side of a square grid of tokens."""
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ChannelError(f"rope='3d' needs square grids of {name} tokens, got {tokens} per step")
    return side
