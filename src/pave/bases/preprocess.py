"""Frames to pixels with torch alone, equal to Hugging Face's video processors.

Theirs need torchvision; these give the same numbers, to the last bit, without it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases.settings import BaseSettings
from pave.errors import BaseError, ConfigError
from pave.hf_compat import lanczos_mode


def resize(frames: Tensor, size: tuple[int, int] | None, mode: str = "bicubic") -> Tensor:
    """Antialiased, on uint8, to the last bit what torchvision or Pillow does.

    Args:
        frames: `[F, 3, H, W]` uint8.
        size: Height and width wanted, such as `BaseSettings.size`.
        mode: "bicubic" or "lanczos" as torchvision's; where torch has no Lanczos it is approximated
            by bicubic, as Hugging Face does. "pillow" for Pillow's bicubic, with which LLaVA's own
            code resizes; it differs from torchvision's by a grey level or two.

    Returns:
        `[F, 3, height, width]` uint8.

    Raises:
        ConfigError: If there is no size.
    """
    if size is None:
        raise ConfigError("the base's settings name no frame size; set `size` to (height, width)")
    # Torchvision too leaves frames of the wanted size as they are.
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    if mode == "pillow":
        return _resize_pillow(frames, size)
    if mode == "lanczos":
        mode = lanczos_mode()
    return F.interpolate(frames, size=size, mode=mode, antialias=True)


_PILLOW_BITS = 22
"""Pillow counts the weights of a filter in whole 2^-22."""


def _resize_pillow(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic in fixed-point numbers: along the width, rounded, then along the height."""
    height, width = size
    one = 1 << _PILLOW_BITS
    for axis, wanted in ((3, width), (2, height)):
        have = frames.shape[axis]
        if have == wanted:
            continue
        weights = _pillow_weights(have, wanted)  # [wanted, have]
        resized = []
        # A frame at a time: float64 takes eight times the memory of uint8.
        for frame in frames:
            lines = frame.double().movedim(axis - 1, -1)  # [..., have]
            summed = lines @ weights.T  # [..., wanted]
            # Half is added before the shift, as in Pillow's integers; exact in float64.
            rounded = ((summed + one // 2) / one).floor()
            grey = rounded.clamp(0, 255).to(torch.uint8)
            resized.append(grey.movedim(-1, axis - 1))
        frames = torch.stack(resized)
    return frames.contiguous()


def _pillow_weights(have: int, want: int) -> Tensor:
    """`[want, have]` integers: Pillow's bicubic filter times 2^22, halves rounded away from 0."""
    scale = have / want
    stretch = max(scale, 1.0)  # the filter is widened when shrinking: that is the antialiasing
    reach = 2 * stretch  # old pixels to either side that a new one is made of
    new = torch.arange(want, dtype=torch.float64)
    centre = (new + 0.5) * scale  # [want], where a new pixel lies among the old ones
    old = torch.arange(have)
    distance = old + 0.5 - centre[:, None]  # [want, have]
    x = (distance / stretch).abs()
    # Keys' cubic convolution with a = -0.5, of support 2.
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((2.5 - 0.5 * x) * x - 4) * x + 2
    weights = near.where(x < 1, far)
    weights = weights.where(x < 2, 0.0)
    # Pillow cuts the filter at whole pixels, which leaves out some weights at its rim.
    first = (centre - reach + 0.5).long()
    last = (centre + reach + 0.5).long()
    inside = (old >= first[:, None]) & (old < last[:, None])
    weights = weights.where(inside, 0.0)
    total = weights.sum(1, keepdim=True)
    scaled = weights / total * (1 << _PILLOW_BITS)
    return (scaled.abs() + 0.5).floor() * scaled.sign()


def shortest_edge(frames: Tensor, edge: int) -> tuple[int, int]:
    """Height and width with the shorter edge at `edge`, the aspect ratio kept."""
    height, width = frames.shape[-2:]
    if height <= width:
        return edge, int(edge * width / height)
    return int(edge * height / width), edge


def center_crop(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut `size` from the centre of frames; smaller ones get a black rim first."""
    height, width = size
    have_height, have_width = frames.shape[-2:]
    tall = max(height - have_height, 0)  # pixels that are missing
    wide = max(width - have_width, 0)
    if tall or wide:
        # The odd one goes to the right and to the bottom, as in torchvision.
        rim = (wide // 2, (wide + 1) // 2, tall // 2, (tall + 1) // 2)
        frames = F.pad(frames, rim)
        have_height, have_width = frames.shape[-2:]
    # Python's round, halves to even, as torchvision's own crop.
    top = round((have_height - height) / 2)
    left = round((have_width - width) / 2)
    return frames[..., top : top + height, left : left + width]


def normalize(frames: Tensor, settings: BaseSettings) -> Tensor:
    """uint8 `[F, 3, H, W]` -> float32, rescaled and normalised in one step.

    Hugging Face fuses the two in this order; `/ 255` first would differ in the last bits.
    """
    mean = torch.tensor(settings.mean) * 255.0
    std = torch.tensor(settings.std) * 255.0
    centred = frames.to(torch.float32) - mean[:, None, None]
    return centred / std[:, None, None]


def merge_times(times: Tensor, step: int) -> Tensor:
    """Times of token steps that each merge `step` frames: the mean of the first and the last one.

    A last step that lacks frames repeats its last one.

    Args:
        times: `[F]` seconds.
        step: Frames a token step.

    Returns:
        `[ceil(F / step)]` float64 seconds.

    Example:
        >>> merge_times(torch.tensor([0.0, 1.0, 2.0]), 2).tolist()
        [0.5, 2.0]
    """
    times = times.to(torch.float64)
    missing = -len(times) % step  # frames, in the last step
    repeated = times[-1:].expand(missing)
    filled = torch.cat([times, repeated])
    steps = filled.reshape(-1, step)  # [T, step]
    first = steps[:, 0]
    last = steps[:, -1]
    return (first + last) / 2


def smart_resize(height: int, width: int, factor: int, low: int, high: int) -> tuple[int, int]:
    """Sides divisible by `factor` whose product lies in `low..high` (Qwen2-VL's rule).

    The aspect ratio is nearly kept.

    Raises:
        BaseError: If one side is over 200 times the other.
    """
    check_aspect(height, width)
    # Sides in cells of `factor` pixels.
    rows = round(height / factor)
    columns = round(width / factor)
    pixels = rows * columns * factor**2
    if pixels > high:
        # Both sides by sqrt(pixels / limit), then down to the grid, so that the limit holds.
        shrink = math.sqrt(height * width / high)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif pixels < low:
        grow = math.sqrt(low / (height * width))
        rows = math.ceil(height * grow / factor)
        columns = math.ceil(width * grow / factor)
    return rows * factor, columns * factor


def check_aspect(height: int, width: int) -> None:
    """Refuse frames that the Qwen families refuse.

    Raises:
        BaseError: If one side is over 200 times the other.
    """
    shorter, longer = sorted((height, width))
    if longer > 200 * shorter:
        raise BaseError(
            f"frames of {height} x {width} are too narrow: one side is more than 200 times as "
            "long as the other; crop them"
        )
