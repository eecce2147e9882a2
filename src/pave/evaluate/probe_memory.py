"""Tokens as the attention probe reads them: one by one, each with its moment and its place.

Nothing is averaged unless a clip has more than 24 moments or 16 places. Features are turned onto
their main directions, which makes a step of learning cheap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.seeds import seeded
from pave.tokens import Tokens

MOMENTS, PLACES = 24, 16
"""Most steps in time, and most places of a step, that are kept apart."""
DIRECTIONS = 128
_ROWS = 20_000  # tokens that the main directions are taken from
_FLAT = 1e-6  # a feature that varies less than this share of the liveliest one says nothing


class Seen(NamedTuple):
    """The tokens of some clips, padded to the longest one.

    Attributes:
        values: `[clips, N, D]`.
        moments: `[clips, N]`: number of the step that each token belongs to.
        places: `[clips, N]`: number of its place in the step.
        absent: `[clips, N]` bool, true at padding.
    """

    values: Tensor
    moments: Tensor
    places: Tensor
    absent: Tensor

    def of(self, rows: Tensor) -> Seen:
        """Those of the clips in `rows`, `[B]`."""
        return Seen(
            values=self.values[rows],
            moments=self.moments[rows],
            places=self.places[rows],
            absent=self.absent[rows],
        )


@dataclass(frozen=True)
class Memory:
    """The tokens of all clips.

    Attributes:
        rows: Clip -> its row in `seen`.
        seen: The tokens.
    """

    rows: Mapping[str, int]
    seen: Seen


def memory_of(train: Mapping[str, Tokens], asked: Mapping[str, Tokens], *, seed: int = 0) -> Memory:
    """The tokens of all clips, in the main directions of the training clips' tokens.

    Args:
        train: Training clip -> its tokens.
        asked: Clip that is asked about -> its tokens. Other names than those in `train`.
        seed: Of the choice of tokens, if there are many, and of the search for directions.

    Example:
        >>> draws = torch.Generator().manual_seed(0)
        >>> clip = Tokens(torch.randn(3, 2, 8, generator=draws), torch.arange(3))
        >>> memory_of({"a": clip}, {"b": clip}).seen.values.shape  # one direction for 4 tokens
        torch.Size([2, 6, 1])
    """
    rows: dict[str, int] = {}
    for name in [*train, *asked]:
        rows[name] = len(rows)
    clips = []
    for tokens in [*train.values(), *asked.values()]:
        values = tokens.values.float()
        clips.append(thinned(values))
    known = [clip.flatten(0, 1) for clip in clips[: len(train)]]
    turn = _Directions(torch.cat(known), seed)
    turned = list(map(turn, clips))
    return Memory(rows, _padded(turned))


def thinned(values: Tensor) -> Tensor:
    """`[T, S, C]` tokens with at most 24 steps and 16 places: means of neighbours beyond that.

    A square grid stays square.

    Example:
        >>> thinned(torch.ones(100, 64, 3)).shape
        torch.Size([24, 16, 3])
    """
    if len(values) > MOMENTS:
        lines = values.flatten(1).T  # [S * C, T]
        fewer = F.adaptive_avg_pool1d(lines, MOMENTS)
        values = fewer.T.unflatten(1, values.shape[1:])
    return fewer_places(values, PLACES)


def fewer_places(values: Tensor, most: int) -> Tensor:
    """`[T, S, C]` tokens with at most `most` places, a square number; a square grid stays square.

    Example:
        >>> fewer_places(torch.ones(2, 64, 3), 16).shape
        torch.Size([2, 16, 3])
    """
    places = values.shape[1]
    if places <= most:
        return values
    side = round(places**0.5)
    lines = values.permute(0, 2, 1)  # [T, C, S]
    if side * side == places:
        grid = lines.unflatten(2, (side, side))  # [T, C, side, side]
        fewer = F.adaptive_avg_pool2d(grid, round(most**0.5))
        lines = fewer.flatten(2)
    else:
        lines = F.adaptive_avg_pool1d(lines, most)
    return lines.permute(0, 2, 1)


class _Directions:
    """Turns features onto the main directions of known tokens, each made equally wide."""

    def __init__(self, known: Tensor, seed: int) -> None:
        self._mean = known.mean(0)
        spread = known.std(0, correction=0)
        self._useful = spread > _FLAT * spread.max().clamp(min=1e-12)
        self._spread = spread[self._useful]
        if not self._useful.any():  # all tokens are alike: one feature of zeros remains
            self._useful = torch.arange(len(spread)) == 0
            self._spread = torch.ones(1)
        with seeded(seed):
            if len(known) > _ROWS:
                drawn = torch.randperm(len(known))
                known = known[drawn[:_ROWS]]
            scaled = self._scaled(known)
            tokens, features = scaled.shape
            count = min(DIRECTIONS, tokens // 4, features)
            count = max(1, count)
            _, strengths, vectors = torch.pca_lowrank(scaled, count, center=False)
        # Standard deviation along each direction, `[D]`.
        width = strengths / len(scaled) ** 0.5
        self._turn = vectors / width.clamp(min=1e-6)  # [C, D]

    def __call__(self, values: Tensor) -> Tensor:
        """`[..., C]` features as `[..., D]` directions."""
        turned: Tensor = self._scaled(values) @ self._turn
        return turned

    def _scaled(self, values: Tensor) -> Tensor:
        centred = values - self._mean
        return centred[..., self._useful] / self._spread


def _padded(clips: Sequence[Tensor]) -> Seen:
    """Clips `[T, S, D]`, whose steps and places may differ, as one."""
    longest = 0
    for clip in clips:
        steps, width = clip.shape[:2]
        longest = max(longest, steps * width)
    shape = (len(clips), longest)
    values = torch.zeros(*shape, clips[0].shape[2])
    moments = torch.zeros(shape, dtype=torch.long)
    places = torch.zeros(shape, dtype=torch.long)
    absent = torch.ones(shape, dtype=torch.bool)
    for row, clip in enumerate(clips):
        steps, width = clip.shape[:2]
        count = steps * width
        values[row, :count] = clip.flatten(0, 1)
        # Step by step, and place by place within a step.
        step = torch.arange(steps)
        place = torch.arange(width)
        moments[row, :count] = step.repeat_interleave(width)
        places[row, :count] = place.repeat(steps)
        absent[row, :count] = False
    return Seen(values, moments, places, absent)
