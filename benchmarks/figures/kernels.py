"""What decides the speed of a fusion on a CPU: which library multiplies, how large a piece is."""

from __future__ import annotations

import torch
from harness import Row, in_turn
from torch.nn import functional as F

from pave.cpu.linear import fast_linear

ROWS, REPEATS = 6272, 7


def product() -> Row:
    """A float32 linear map in oneDNN's layout, against `torch.nn.Linear` (MKL on x86)."""
    layer = torch.nn.Linear(1152, 512)
    x = torch.randn(ROWS, 1152)
    pair = in_turn(lambda: fast_linear(x, layer.weight, layer.bias), lambda: layer(x), REPEATS)
    rate = 2 * ROWS * 1152 * 512 / 1e9
    note = f"{rate / pair.ours:,.0f} against {rate / pair.peer:,.0f} GFLOP a CPU s"
    return Row.gain("float32 product of 6,272 x 1,152 x 512, oneDNN against MKL", pair, note=note)


def pieces() -> Row:
    """A layer norm of 6,272 x 3,584 in pieces of 7.5 MB against one of 90 MB."""
    x = torch.randn(ROWS, 3584)
    pair = in_turn(
        lambda: [F.layer_norm(part, (3584,)) for part in x.split(523)],
        lambda: F.layer_norm(x, (3584,)),
        REPEATS,
    )
    return Row.gain("layer norm of 6,272 x 3,584, pieces of 523 rows against one", pair)


def measure() -> list[Row]:
    """A row for each."""
    with torch.no_grad():
        return [product(), pieces()]
