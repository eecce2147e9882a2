"""Features on one scale, so that no probe is led by the features with the largest numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_FLAT = 1e-6  # a feature that varies less than this share of the liveliest one says nothing
_LEAST = 1e-12  # what the liveliest one is taken to vary at least


@dataclass(frozen=True)
class Scale:
    """Centres features, and makes those that vary equally wide; the others are left out.

    What never changes in training says nothing, and must not be blown up afterwards.

    Attributes:
        mean: `[C]` of the training rows.
        spread: `[C]` their standard deviation.
        useful: `[C]` bool: which features vary.

    Example:
        >>> import torch
        >>> scale = Scale.of(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
        >>> scale(torch.tensor([[4.0, 9.0]]))
        tensor([[2.]])
    """

    mean: Tensor
    spread: Tensor
    useful: Tensor

    @classmethod
    def of(cls, known: Tensor) -> Scale:
        """The scale of training rows, `[rows, C]`."""
        spread = known.std(0, correction=0)
        liveliest = spread.max().clamp(min=_LEAST)
        return cls(
            mean=known.mean(0),
            spread=spread,
            useful=spread > _FLAT * liveliest,
        )

    def __call__(self, values: Tensor) -> Tensor:
        """`[..., C]` features as `[..., useful ones]`."""
        centred = values - self.mean
        return centred[..., self.useful] / self.spread[self.useful]
