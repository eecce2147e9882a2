"""Frames to pixels with torch alone, equal to Hugging Face's video processors.

Theirs need torchvision; these give the same numbers, to the last bit, without it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases.pillow import resize_as_pillow
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
        return resize_as_pillow(frames, size)
    if mode == "lanczos":
        mode = lanczos_mode()
    return F.interpolate(frames, size=size, mode=mode, antialias=True)


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
