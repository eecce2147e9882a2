"""What the page shows: small pictures of a clip and its channels, and the loudness of its sound."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pave.channels.scene3d.scene import open_scene
from pave.media import At, Sampling, frame_times, probe, read_frames, read_sound
from pave.serve.figure import Look, Pictures

PARTS = 450
"""Parts of the sound whose loudest sample is shown."""
SHOWN = 64
"""Most pictures of a channel."""
_THUMB = (192, 108)
_RATE = 8000  # samples a second, enough for a wave of so many parts


def look_at(
    seconds: int, video: str, sampling: Sampling, heard: str, sides: Mapping[str, Sequence[str]]
) -> Look:
    """In a worker: what is shown of a clip.

    Args:
        seconds: Longest clip; it was looked at before.
        video: The film.
        sampling: Which of its frames the base sees.
        heard: The file whose sound is shown.
        sides: Channel -> its files, of the patches at work.
    """
    frames = read_frames(video, sampling)
    times = frames.times.tolist()
    thumbs = [_jpeg(pixels) for pixels in frames.pixels]
    shown: list[Pictures] = []
    for channel, paths in sides.items():
        shown += _of_channel(channel, paths, times)
    return Look(times, thumbs, _levels(heard), probe(video).duration, tuple(shown))


def _levels(heard: str) -> list[float]:
    """The loudest sample of each part of a sound; nothing where there is none."""
    sound: Any = read_sound(heard, _RATE)
    if sound is None or not sound.samples.numel():
        return []
    # The last part may be shorter.
    parts = sound.samples.abs().chunk(PARTS)
    return [float(part.max()) for part in parts]


def _of_channel(channel: str, paths: Sequence[str], times: list[float]) -> list[Pictures]:
    """Rows of pictures of a channel's files; none for a channel that is not of pictures."""
    if channel == "views":
        cameras = []
        for number, path in enumerate(paths, 1):
            cameras.append(_film(f"camera {number}", path, At(times)))
        return cameras
    if channel == "frames":
        fast = frame_times(paths[0]).tolist()
        every = -(-len(fast) // SHOWN)  # rounded up
        return [_film("fast frames", paths[0], At(fast[::every]))]
    if channel == "scene3d":
        return [_depth(paths[0])]
    return []


def _film(title: str, path: str, sampling: Sampling) -> Pictures:
    """Frames of another film, or more of the same."""
    frames = read_frames(path, sampling)
    thumbs = [_jpeg(pixels) for pixels in frames.pixels]
    return Pictures(title, frames.times.tolist(), thumbs)


def _depth(path: str) -> Pictures:
    """Depth maps: what is near is light, what is unknown black."""
    scene = open_scene(path)
    frames = [scene.read(index) for index in scene.evenly(SHOWN)]
    depths = [torch.from_numpy(frame.depth) for frame in frames]  # [h, w] metres
    known = torch.cat([depth[depth > 0] for depth in depths])
    if not len(known):
        return Pictures("depth: none is known", [], [])
    near, far = float(known.min()), float(known.max())
    span = (far - near) or 1.0
    thumbs = []
    for depth in depths:
        light = 1 - 0.8 * (depth - near) / span  # 1 to 0.2
        grey = (255 * light * (depth > 0)).round()
        thumbs.append(_jpeg(grey.to(torch.uint8).expand(3, -1, -1)))
    title = f"depth, {near:.1f} m (light) to {far:.1f} m (dark)"
    return Pictures(title, [frame.time for frame in frames], thumbs)


def _jpeg(pixels: Tensor) -> bytes:
    """A frame `[3, H, W]` as a small JPEG."""
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    picture.thumbnail(_THUMB)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=80)
    return target.getvalue()
