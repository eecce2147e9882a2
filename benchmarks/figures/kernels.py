"""The choices inside the fusion, each alone: which library multiplies and how, which attention, how large a piece at a time.

Ours is what the fusion does, peer what it would do without thinking. The note gives the rate of our
side.
"""

from __future__ import annotations

import torch
from harness import Row, in_turn
from torch.nn import functional as F

from pave.fusion.block import attend
from pave.fusion.layout import Runs
from pave.fusion.linear import Linear

ROWS, REPEATS = 6272, 7


def product() -> Row:
    """A float32 linear map in oneDNN's layout, against `torch.nn.Linear` (MKL on x86)."""
    ours = Linear(1152, 512)
    x = torch.randn(ROWS, 1152)
    pair = in_turn(lambda: ours(x), lambda: F.linear(x, ours.weight, ours.bias), REPEATS)
    rate = 2 * ROWS * 1152 * 512 / 1e9
    note = f"{rate / pair.ours:,.0f} against {rate / pair.peer:,.0f} GFLOP a CPU s"
    return Row.gain("float32 product of 6,272 x 1,152 x 512, oneDNN against MKL", pair, note=note)


def biased() -> Row:
    """The widest bfloat16 map on a chunk's rows, its bias added within the product, against `torch.nn.Linear`."""
    ours = Linear(1024, 3584).bfloat16()
    x = torch.randn(980, 1024, dtype=torch.bfloat16)
    pair = in_turn(lambda: ours(x), lambda: F.linear(x, ours.weight, ours.bias), 5 * REPEATS)
    return Row.gain("bfloat16 product of 980 x 1,024 x 3,584, bias within against before", pair)


def attention() -> Row:
    """Plain products against PyTorch's fused kernel: 32 frames of 196 queries, 609 keys, 4 heads of 128, bfloat16."""
    frames, groups = Runs(32, 196, None, None, 196), Runs(32, 609, None, None, 609)
    query, key = (torch.randn(32 * n, 4, 128, dtype=torch.bfloat16) for n in (196, 609))

    def fused() -> torch.Tensor:
        asked, keys = frames.take(query).transpose(1, 2), groups.take(key).transpose(1, 2)
        return frames.put(
            F.scaled_dot_product_attention(asked, keys, keys).transpose(1, 2).flatten(2)
        )

    pair = in_turn(lambda: attend(query, key, key, frames, groups), fused, REPEATS)
    return Row.gain("bfloat16 attention of 196 queries and 609 keys, plain against fused", pair)


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
        return [product(), biased(), attention(), pieces()]
