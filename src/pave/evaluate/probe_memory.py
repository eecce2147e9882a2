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
from torch.nn.utils.rnn import pad_sequence

from pave.evaluate.probe_scale import Scale
from pave.seeds import seeded
from pave.tokens import Tokens

MOMENTS, PLACES = 24, 16
"""Most steps in time, and most places of a step, that are kept apart."""
DIRECTIONS = 128
_ROWS = 20_000  # tokens that the main directions are taken from
_SMALL = 1e-6  # least width of a direction


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
    turned = [turn(clip) for clip in clips]
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
        self._scale = _scale_of(known)
        with seeded(seed):
            scaled = self._scale(_some(known))  # [rows, features]
            rows, features = scaled.shape
            count = max(1, min(DIRECTIONS, rows // 4, features))  # at most one for four tokens
            _, lengths, vectors = torch.pca_lowrank(scaled, count, center=False)
        width = lengths / rows**0.5  # standard deviation along each direction, [D]
        self._turn = vectors / width.clamp(min=_SMALL)  # [features, D]

    def __call__(self, values: Tensor) -> Tensor:
        """`[..., C]` features as `[..., D]` directions."""
        turned: Tensor = self._scale(values) @ self._turn
        return turned


def _scale_of(known: Tensor) -> Scale:
    """The scale of known tokens `[N, C]`, which leaves at least one feature."""
    scale = Scale.of(known)
    if scale.useful.any():
        return scale
    # All tokens are alike: the first feature remains, zero in every one of them.
    features = torch.arange(len(scale.useful))
    return Scale(
        mean=scale.mean,
        spread=torch.ones_like(scale.spread),
        useful=features == 0,
    )


def _some(known: Tensor) -> Tensor:
    """All tokens `[N, C]`, or as many as directions are taken from."""
    if len(known) <= _ROWS:
        return known
    drawn = torch.randperm(len(known))
    return known[drawn[:_ROWS]]


def _padded(clips: Sequence[Tensor]) -> Seen:
    """Clips `[T, S, D]`, whose steps and places may differ, as one."""
    values = []
    moments = []
    places = []
    absent = []
    for clip in clips:
        steps, width = clip.shape[:2]
        step = torch.arange(steps)
        place = torch.arange(width)
        # Step by step, and place by place within a step.
        values.append(clip.flatten(0, 1))
        moments.append(step.repeat_interleave(width))
        places.append(place.repeat(steps))
        absent.append(torch.zeros(steps * width, dtype=torch.bool))
    return Seen(
        values=_side_by_side(values),
        moments=_side_by_side(moments),
        places=_side_by_side(places),
        absent=_side_by_side(absent, padding=True),
    )


def _side_by_side(clips: Sequence[Tensor], padding: bool = False) -> Tensor:
    """`[clips, N, ...]`, padded behind with zeros, or with `True`."""
    return pad_sequence(list(clips), batch_first=True, padding_value=padding)
