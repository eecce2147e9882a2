"""What the page shows of a clip: frames as small pictures and the loudness of its sound."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image
from torch import Tensor

from pave.media import Sampling, probe, read_frames, read_sound
from pave.serve.figure import Look

PARTS = 450
"""Parts of the sound whose loudest sample is shown."""
_THUMB = (192, 108)
_RATE = 8000  # samples a second, enough for a wave of so many parts


def look_at(seconds: int, video: str, sampling: Sampling, heard: str) -> Look:
    """In a worker: what is shown of a clip.

    Args:
        seconds: Longest clip; it was looked at before.
        video: The film.
        sampling: Which of its frames the base sees.
        heard: The file whose sound is shown.
    """
    frames = read_frames(video, sampling)
    thumbs = [_jpeg(pixels) for pixels in frames.pixels]
    sound: Any = read_sound(heard, _RATE)
    levels: list[float] = []
    if sound is not None and sound.samples.numel():
        # The last part may be shorter.
        levels = [float(part.max()) for part in sound.samples.abs().chunk(PARTS)]
    return Look(frames.times.tolist(), thumbs, levels, probe(video).duration)


def _jpeg(pixels: Tensor) -> bytes:
    """A frame `[3, H, W]` as a small JPEG."""
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    picture.thumbnail(_THUMB)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=80)
    return target.getvalue()
