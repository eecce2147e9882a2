"""Frames to pixels with torch alone, equal to Hugging Face's video processors.

Theirs need torchvision; these give the same numbers, to the last bit, without it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases.settings import BaseSettings
from pave.errors import BaseError
from pave.hf_compat import lanczos_mode


def resize(frames: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Antialiased, on uint8: what torchvision does, to the last bit.

    Args:
        frames: `[F, 3, H, W]` uint8.
        size: Height and width wanted.
        mode: "bicubic" or "lanczos"; where torch has no Lanczos it is approximated by bicubic, as
            Hugging Face does.

    Returns:
        `[F, 3, height, width]` uint8.
    """
    # Torchvision too leaves frames of the wanted size as they are.
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    if mode == "lanczos":
        mode = lanczos_mode()
    return F.interpolate(frames, size=size, mode=mode, antialias=True)


def resize_pillow(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic as Pillow does it, to the last bit: along the width, then along the height.

    LLaVA's own code resizes with Pillow; `resize` differs from it by a grey level or two, because
    Pillow sums in fixed-point numbers and rounds between the two axes.

    Args:
        frames: `[F, 3, H, W]` uint8.
        size: Height and width wanted.

    Returns:
        `[F, 3, height, width]` uint8.
    """
    for axis, wanted in ((3, size[1]), (2, size[0])):
        if frames.shape[axis] == wanted:
            continue
        weights = _pillow_weights(frames.shape[axis], wanted)  # [wanted, have], times 2^22
        # A frame at a time: float64 takes eight times the memory of uint8.
        lines = [frame.double().movedim(axis - 1, -1) @ weights.T for frame in frames]
        summed = torch.stack(lines)
        # Half of 2^22 is added before the shift, as in Pillow's integers; exact in float64.
        rounded = ((summed + (1 << 21)) / (1 << 22)).floor()
        frames = rounded.clamp(0, 255).to(torch.uint8).movedim(-1, axis)
    return frames.contiguous()


def _pillow_weights(have: int, want: int) -> Tensor:
    """`[want, have]` integers: Pillow's bicubic filter times 2^22, halves rounded away from 0."""
    scale = have / want
    stretch = max(scale, 1.0)  # the filter is widened when shrinking: that is the antialiasing
    # Of each new pixel, in old pixels.
    centre = (torch.arange(want, dtype=torch.float64) + 0.5) * scale  # [want]
    first = (centre - 2 * stretch + 0.5).long().clamp(min=0)
    last = (centre + 2 * stretch + 0.5).long().clamp(max=have)
    pixel = torch.arange(have)
    x = ((pixel + 0.5 - centre[:, None]) / stretch).abs()  # [want, have]
    # Keys' cubic convolution with a = -0.5, of support 2.
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((2.5 - 0.5 * x) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    # Pillow cuts the filter at whole pixels, which leaves out some weights at its rim.
    weights = weights.where((pixel >= first[:, None]) & (pixel < last[:, None]), 0.0)
    weights = weights / weights.sum(1, keepdim=True) * (1 << 22)
    return (weights.abs() + 0.5).floor() * weights.sign()


def shortest_edge(frames: Tensor, edge: int) -> tuple[int, int]:
    """Height and width with the shorter edge at `edge`, the aspect ratio kept."""
    height, width = frames.shape[-2:]
    if height <= width:
        return edge, int(edge * width / height)
    return int(edge * height / width), edge


def center_crop(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut `size` from the centre of frames that are at least as large."""
    height, width = size
    # Python's round, halves to even, as torchvision's own crop.
    top = round((frames.shape[-2] - height) / 2)
    left = round((frames.shape[-1] - width) / 2)
    return frames[..., top : top + height, left : left + width]


def normalize(frames: Tensor, settings: BaseSettings) -> Tensor:
    """uint8 `[F, 3, H, W]` -> float32, rescaled and normalised in one step.

    Hugging Face fuses the two in this order; `/ 255` first would differ in the last bits.
    """
    mean = torch.tensor(settings.mean) * 255.0
    std = torch.tensor(settings.std) * 255.0
    return (frames.to(torch.float32) - mean[:, None, None]) / std[:, None, None]


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
    missing = -len(times) % step
    filled = torch.cat([times, times[-1:].expand(missing)])
    padded = filled.reshape(-1, step)  # [T, step]
    return (padded[:, 0] + padded[:, -1]) / 2


def smart_resize(height: int, width: int, factor: int, low: int, high: int) -> tuple[int, int]:
    """Sides divisible by `factor` whose product lies in `low..high` (Qwen2-VL's rule).

    The aspect ratio is nearly kept.

    Raises:
        BaseError: If one side is over 200 times the other.
    """
    check_aspect(height, width)
    h = round(height / factor) * factor
    w = round(width / factor) * factor
    if h * w > high:
        # Both sides by sqrt(pixels / limit), then down to the grid, so that the limit holds.
        beta = math.sqrt(height * width / high)
        h = max(factor, math.floor(height / beta / factor) * factor)
        w = max(factor, math.floor(width / beta / factor) * factor)
    elif h * w < low:
        beta = math.sqrt(low / (height * width))
        h = math.ceil(height * beta / factor) * factor
        w = math.ceil(width * beta / factor) * factor
    return h, w


def check_aspect(height: int, width: int) -> None:
    """Refuse frames that the Qwen families refuse.

    Raises:
        BaseError: If one side is over 200 times the other.
    """
    if max(height, width) > 200 * min(height, width):
        raise BaseError(
            f"frames of {height} x {width} are too narrow: one side is over 200 times the other"
        )
