"""Pillow's bicubic resizing in torch, to the last bit.

LLaVA's own code resizes with Pillow. Its integers, `ImagingResample` of `Resample.c`, round
otherwise than torchvision, so that pixels differ by a grey level or two.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 22
_ONE = 1 << _BITS
"""Pillow counts the weights of a filter in whole 2^-22."""

_SUPPORT = 2
"""Old pixels to either side that a new one is made of, where nothing is shrunk."""


def resize_as_pillow(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic in fixed-point numbers: along the width, rounded, then along the height.

    Args:
        frames: `[F, 3, H, W]` uint8.
        size: Height and width wanted.

    Returns:
        `[F, 3, height, width]` uint8.
    """
    height, width = size
    narrow = _resize_axis(frames, 3, width)  # [F, 3, H, width]
    return _resize_axis(narrow, 2, height).contiguous()


def _resize_axis(frames: Tensor, axis: int, wanted: int) -> Tensor:
    """Resize along axis 2 or 3 of `[F, 3, H, W]`."""
    have = frames.shape[axis]
    if have == wanted:
        return frames
    weights = _weights(have, wanted)  # [wanted, have]
    resized = []
    # A frame at a time: float64 takes eight times the memory of uint8.
    for frame in frames:
        lines = frame.double().movedim(axis - 1, -1)  # [..., have]
        summed = lines @ weights.T  # [..., wanted]
        # Half is added before the shift, as in Pillow's integers; exact in float64.
        rounded = ((summed + _ONE // 2) / _ONE).floor()
        grey = rounded.clamp(0, 255).to(torch.uint8)
        resized.append(grey.movedim(-1, axis - 1))
    return torch.stack(resized)


def _weights(have: int, want: int) -> Tensor:
    """`[want, have]` integers: the filter times 2^22, halves rounded away from 0."""
    scale = have / want
    stretch = max(scale, 1.0)  # the filter is widened when shrinking: that is the antialiasing
    new = torch.arange(want, dtype=torch.float64)
    centre = (new + 0.5) * scale  # [want], where a new pixel lies among the old ones
    old = torch.arange(have)
    distance = old + 0.5 - centre[:, None]  # [want, have]
    weights = _bicubic((distance / stretch).abs())  # [want, have]
    # Pillow cuts the filter at whole pixels, which leaves out some weights at its rim.
    reach = _SUPPORT * stretch
    first = (centre - reach + 0.5).long()
    last = (centre + reach + 0.5).long()
    inside = (old >= first[:, None]) & (old < last[:, None])
    weights = weights.where(inside, 0.0)
    # Those that are left add up to 1.
    total = weights.sum(1, keepdim=True)  # [want, 1]
    scaled = weights / total * _ONE
    return (scaled.abs() + 0.5).floor() * scaled.sign()


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.5, at distances of 0 or more."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((2.5 - 0.5 * x) * x - 4) * x + 2
    weights = near.where(x < 1, far)
    return weights.where(x < _SUPPORT, 0.0)
