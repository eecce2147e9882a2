"""What training may do to cached tokens of several cameras: draw some of them.

A patch that was trained so does not count on all of them.
"""

from __future__ import annotations

import random

from pave.tokens import Tokens


def some_cameras(tokens: Tokens, cameras: int, chance: random.Random) -> Tokens:
    """A random number of the cameras in random order, as the authors train (`exo_random`).

    Args:
        tokens: `[T * cameras, S, C]`, entry `t * cameras + v`: a moment's cameras stand together.
        cameras: How many there are.
        chance: Decides.

    Example:
        >>> import torch
        >>> every = Tokens(torch.zeros(6, 1, 1), torch.arange(2.0).double().repeat_interleave(3))
        >>> some_cameras(every, 3, random.Random(0)).steps
        4
    """
    # First how many, then which: the authors' two draws, in their order.
    count = chance.randint(1, cameras)
    chosen = chance.sample(range(cameras), count)
    values = tokens.values.unflatten(0, (-1, cameras))  # [T, cameras, S, C]
    times = tokens.times.view(-1, cameras)  # [T, cameras]
    return Tokens(values[:, chosen].flatten(0, 1), times[:, chosen].flatten())
