"""Frames that a program holds already: arrays of numpy and torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pave.errors import MediaError
from pave.media.frames import Frames
from pave.media.sampling import Sampling, choose


def as_frames(
    pixels: Any, *, fps: float | None = None, times: Sequence[float] | None = None
) -> Frames:
    """Frames of an array, in the place of a video file.

    Args:
        pixels: uint8 RGB, `[F, H, W, 3]` or `[F, 3, H, W]`, of numpy or torch.
        fps: Frames a second; the first is shown at 0.
        times: Seconds of each frame, instead of `fps`.

    Raises:
        MediaError: If that is no clip, or not exactly one of `fps` and `times` is given.

    Example:
        >>> clip = as_frames(np.zeros((4, 48, 64, 3), np.uint8), fps=2)
        >>> clip.pixels.shape, clip.times.tolist()
        (torch.Size([4, 3, 48, 64]), [0.0, 0.5, 1.0, 1.5])
    """
    if not isinstance(pixels, np.ndarray | Tensor):
        raise MediaError(f"frames must be an array of numpy or torch, got {type(pixels).__name__}")
    shape = tuple(pixels.shape)
    if str(pixels.dtype).removeprefix("torch.") != "uint8" or len(shape) != 4 or 0 in shape:
        raise MediaError(
            f"frames are uint8 [F, H, W, 3] or [F, 3, H, W], got {pixels.dtype} {shape}; scale "
            "them to 0..255 and convert them"
        )
    # Three columns of pixels are no picture that anybody has.
    last, first = shape[3] == 3, shape[1] == 3
    if last == first:
        raise MediaError(f"frames are [F, H, W, 3] or [F, 3, H, W], got {shape}")
    whole = torch.as_tensor(pixels)
    if last:
        whole = whole.permute(0, 3, 1, 2)
    moments = _moments(len(whole), fps, times)
    # The last frame is shown as long as the others are on average.
    count = len(moments)
    duration = round(float(moments[-1]) * count / max(count - 1, 1), 6)
    return Frames(whole.contiguous(), moments, duration)


def _moments(count: int, fps: float | None, times: Sequence[float] | None) -> Tensor:
    """`[F]` seconds."""
    if (fps is None) == (times is None):
        raise MediaError(
            "the times of the frames are missing; pass either fps=2 or times=[0.0, 0.5, ...]"
        )
    if fps is not None:
        # A NaN is not above 0 either.
        if not isinstance(fps, int | float) or not 0 < fps < 2**63:
            raise MediaError(f"fps must be a number above 0, got {fps!r}")
        return torch.arange(count, dtype=torch.float64) / fps
    try:
        moments = torch.as_tensor(np.asarray(times, dtype=np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise MediaError(f"times must be {count} seconds, one per frame ({error})") from error
    if moments.shape != (count,) or not moments.isfinite().all():
        raise MediaError(f"times must be {count} seconds, one per frame, got {times!r}")
    if (moments.diff() < 0).any():
        raise MediaError("the times of frames must not decrease; sort the frames by time")
    return moments


def chosen(frames: Frames, sampling: Sampling) -> Frames:
    """Some of the frames, as a sampling takes them of a video's.

    Args:
        frames: All of them.
        sampling: Which are wanted.
    """
    taken = torch.from_numpy(choose(frames.times.numpy(), sampling))
    return Frames(frames.pixels[taken], frames.times[taken], frames.duration)
