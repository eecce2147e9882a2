"""Tokens as the pooled probes read them: every clip is one vector, however long it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.evaluate.probe_examples import Example
from pave.evaluate.probe_memory import fewer_places
from pave.evaluate.probe_scale import Scale
from pave.tokens import Tokens

SEGMENTS, PLACES = 4, 16
"""Most pieces in time and in space that pooled tokens keep apart."""
_DIRECTIONS = 64  # chosen together with the sizes of the network that reads them
_SMALL = 1e-9  # least eigenvalue: rounding may leave less than 0


@dataclass(frozen=True)
class PooledClips:
    """Pooled tokens of clips, in the forms that probes read.

    Attributes:
        rows: Clip -> its row.
        products: `[clips, clips]` mean product of two clips' features.
        directions: `[clips, <= 64]` main directions of the training clips' features.
    """

    rows: Mapping[str, int]
    products: Tensor
    directions: Tensor

    def of(self, examples: Sequence[Example]) -> Tensor:
        """`[examples]`: the row of each one's clip."""
        found = [self.rows[example.clip] for example in examples]
        return torch.tensor(found)


def pool(tokens: Sequence[Tokens]) -> Tensor:
    """Every clip's tokens as one vector, all of one length.

    Time is cut into 4 equal pieces of mean tokens, so that "first" and "last" can be told apart.
    Places are kept up to 16; a larger square grid is averaged down to 4 x 4, so that left and right
    can be told apart. Where clips differ in the number of places, these are averaged. The largest
    value of each feature comes last.

    Args:
        tokens: Of each clip.

    Returns:
        `[clips, features]` float32.

    Example:
        >>> times = torch.arange(8)
        >>> pool([Tokens(torch.zeros(8, 2, 3), times)]).shape  # 4 * 2 * 3 + 3
        torch.Size([1, 27])
    """
    widths = {own.values.shape[1] for own in tokens}
    kept = 1  # the mean, where clips have no places in common
    if len(widths) == 1:
        kept = widths.pop()
    vectors = []
    for own in tokens:
        values = own.values.float()
        vectors.append(_pooled(values, kept))
    return torch.stack(vectors)


def _pooled(values: Tensor, kept: int) -> Tensor:
    """`[T, S, C]` tokens as a vector, S being `kept` or averaged."""
    largest = values.amax((0, 1))  # [C]
    if values.shape[1] != kept:
        values = values.mean(1, keepdim=True)
    smaller = fewer_places(values, PLACES)
    by_feature = smaller.permute(0, 2, 1)  # [T, C, S]
    lines = by_feature.flatten(1).T  # [C * S, T]
    pieces = F.adaptive_avg_pool1d(lines, SEGMENTS)
    return torch.cat([pieces.flatten(), largest])


def pooled_clips(train: Mapping[str, Tokens], asked: Mapping[str, Tokens]) -> PooledClips:
    """Pool the tokens of all clips; scales are those of the training clips.

    Args:
        train: Training clip -> its tokens.
        asked: Clip that is asked about -> its tokens. Other names than those in `train`.
    """
    rows: dict[str, int] = {}
    for name in [*train, *asked]:
        rows[name] = len(rows)
    vectors = pool([*train.values(), *asked.values()])  # [clips, F]
    known = vectors[: len(train)]
    scale = Scale.of(known)
    scaled = scale(vectors)  # [clips, useful features]
    features = scaled.shape[1]
    products = scaled @ scaled.T / max(1, features)
    return PooledClips(
        rows=rows,
        products=products,
        directions=_main_directions(products, len(train)),
    )


def _main_directions(products: Tensor, known: int) -> Tensor:
    """`[clips, <= 64]`: how far each clip lies along the main directions of the training clips.

    They are found from products alone, since clips are fewer than features: where the products of
    the training clips have the eigenvector v and the eigenvalue s, a clip lies (its products with
    the training clips) @ v / sqrt(s) along a direction.

    Args:
        products: `[clips, clips]`, training clips first.
        known: How many training clips there are.
    """
    with_known = products[:, :known].double()  # [clips, known]
    squares, vectors = torch.linalg.eigh(with_known[:known])  # [known], ascending
    count = min(_DIRECTIONS, max(1, known // 4))  # at most one for four clips
    squares = squares[-count:].clamp(min=_SMALL)
    main = vectors[:, -count:]  # [known, count]
    along = with_known @ main / squares.sqrt()
    # As wide as they are, the widest about 1: directions of mere noise stay small.
    widest = (known / squares[-1]).sqrt()
    directions: Tensor = along * widest
    return directions.float()
