"""Where a token lies, in the picture or in space, as numbers beside its features.

Transformer towers add positions to their patches, so their tokens tell where they lie. Those of a
convolutional tower do not: the same thing gives the same token on the left and on the right, and a
fusion without rotary positions could not tell the two apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CODE = 10
"""Features of a place: row and column, and sine and cosine of two waves of each."""

_RATES = (math.pi / 2, math.pi)  # radians from the middle to the edge
_LOUDNESS = 1 / 3  # length of the code as a share of a token's; about what was tried on world 0


def waves(points: Tensor, rates: Tensor) -> Tensor:
    """Sines and cosines of coordinates, by which near places have near codes.

    Args:
        points: `[..., D]` coordinates.
        rates: `[bands]` radians a unit.

    Returns:
        `[..., 2 * D * bands]`: all sines, then all cosines.
    """
    turns = points[..., None] * rates  # [..., D, bands]
    parts = [
        turns.sin().flatten(-2),
        turns.cos().flatten(-2),
    ]
    return torch.cat(parts, -1)


def place_code(side: int) -> Tensor:
    """Numbers that tell the regions of a `side` x `side` grid apart.

    Returns:
        `[side * side, 10]`, regions row by row; mirrored regions differ in signs.

    Example:
        >>> place_code(2)[:, :2]  # row and column, -1 and 1 at the edges
        tensor([[-0.5000, -0.5000],
                [-0.5000,  0.5000],
                [ 0.5000, -0.5000],
                [ 0.5000,  0.5000]])
    """
    middle = (2 * torch.arange(side) + 1) / side - 1  # [side], from -1 to 1
    place = torch.cartesian_prod(middle, middle)  # [S, 2], row and column
    turned = waves(place, torch.tensor(_RATES))  # [S, 8]
    return torch.cat([place, turned], 1)


def with_places(values: Tensor, side: int) -> Tensor:
    """Tokens of a clip with the code of their places behind their features.

    Features of towers differ in size, so the code is made as loud as a third of the clip's mean
    token.

    Args:
        values: `[T, side * side, C]`, regions row by row.
        side: Rows and columns.

    Returns:
        `[T, side * side, C + 10]`.
    """
    code = place_code(side)  # [S, 10]
    token_size = values.square().sum(-1).mean().sqrt()
    code_size = code.square().sum(-1).mean().sqrt()
    code = code * (_LOUDNESS * token_size / code_size)
    repeated = code.expand(len(values), -1, -1)  # [T, S, 10]
    return torch.cat([values, repeated.to(values)], -1)
