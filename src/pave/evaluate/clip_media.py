"""What a page shows of a clip: frames side by side as one picture, and its sound.

Both come as `data:` addresses, so that the page is one file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor
from torch.nn import functional as F

from pave.data import Record
from pave.errors import MediaError
from pave.media import Uniform, read_frames, read_sound

HEIGHT = 108
"""Pixels of a thumbnail; a wide frame is 192 across."""
GAP = 4
"""White pixels between two frames."""
SHOWN = 4
"""Frames of a clip."""
SHOWN_OF = {"frames": 12}
"""Channel -> frames, where the channel is a faster look at the clip."""
RATE = 24_000  # samples a second: enough to tell instruments, and one of MP3's rates
BITS = 32_000  # a second of sound, so ten seconds are 40 kB
_VIDEO = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ""}  # "": a folder of frames


@dataclass(frozen=True)
class Strip:
    """Frames of one film, side by side.

    Attributes:
        title: What they show: "video", or a channel.
        source: The picture.
        times: Seconds of each frame.
    """

    title: str
    source: str
    times: list[float]


@dataclass(frozen=True)
class ClipMedia:
    """What can be seen and heard of a clip.

    Attributes:
        strips: The film, and further films of its channels.
        sound: Its sound; empty where it has none.
        problems: What could not be read, a line each.
    """

    strips: list[Strip] = field(default_factory=list)
    sound: str = ""
    problems: list[str] = field(default_factory=list)


def media_of(record: Record, seconds: float) -> ClipMedia:
    """Look at a record's clip, and listen to it.

    Args:
        record: Any record of the clip.
        seconds: Most of its sound that is kept, from the beginning.

    A file that cannot be read is one of `problems`; the other parts are shown.
    """
    strips, problems = [], []
    for title, path, count in _films(record):
        try:
            strips.append(_strip(title, path, count))
        except MediaError as error:
            problems.append(str(error))
    sound = ""
    heard = record.channels.get("audio", record.video)
    try:
        if isinstance(heard, str):
            sound = _address("audio/mpeg", sound_of(heard, seconds))
    except MediaError as error:
        if str(error) not in problems:  # the film itself, of which that was said already
            problems.append(str(error))
    return ClipMedia(strips, sound, problems)


def _films(record: Record) -> list[tuple[str, str, int]]:
    """(title, path, frames) of what can be seen: the clip, and films of channels."""
    films = [("video", record.video, SHOWN)]
    for channel, media in record.channels.items():
        paths = media if isinstance(media, list) else [media]
        for number, path in enumerate(paths, 1):
            if not isinstance(path, str) or Path(path).suffix.lower() not in _VIDEO:
                continue  # features, depth and the like are no films
            count = SHOWN_OF.get(channel, SHOWN)
            # The clip itself again is worth showing only where more of it is shown.
            if path == record.video and count == SHOWN:
                continue
            title = channel
            if len(paths) > 1:  # several cameras
                title = f"{channel} {number}"
            films.append((title, path, count))
    return films


def _strip(title: str, path: str, count: int) -> Strip:
    """Evenly spread frames as one JPEG."""
    frames = read_frames(path, Uniform(count))
    pixels = frames.pixels.to(torch.float32)  # [F, 3, H, W]
    width = max(2, round(HEIGHT * pixels.shape[3] / pixels.shape[2] / 2) * 2)  # even, for JPEG
    small = F.interpolate(pixels, (HEIGHT, width), mode="bilinear", antialias=True)
    apart = F.pad(small.round().clamp(0, 255), (0, GAP), value=255).to(torch.uint8)
    picture = torch.cat(list(apart), dim=2)[..., :-GAP]  # [3, H, F W + (F - 1) GAP]
    return Strip(title, _address("image/jpeg", _jpeg(picture)), frames.times.tolist())


def _jpeg(picture: Tensor) -> bytes:
    """A picture `[3, H, W]` as JPEG."""
    frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).contiguous().numpy(), "rgb24")
    # qmin = qmax fixes the quality: 2 is the best, 31 the worst.
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 1)
    encoder.options = {"qmin": "5", "qmax": "5"}
    packets = encoder.encode(frame.reformat(format="yuvj420p")) + encoder.encode(None)
    return b"".join(map(bytes, packets))


def sound_of(path: str | Path, seconds: float) -> bytes:
    """The beginning of a file's sound as MP3; empty where the file has none.

    Raises:
        MediaError: If the file cannot be read.
    """
    track = read_sound(path, RATE)
    if track is None or not track.samples.numel():
        return b""
    samples = track.samples[: int(seconds * RATE)]
    target = io.BytesIO()
    with av.open(target, "w", format="mp3") as container:
        stream: Any = container.add_stream("libmp3lame", rate=RATE)
        stream.bit_rate, stream.layout = BITS, "mono"
        frame = av.AudioFrame.from_ndarray(samples[None].numpy(), format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def _address(kind: str, data: bytes) -> str:
    """Bytes as an address that needs no file; empty where there are none."""
    if not data:
        return ""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def as_data(media: ClipMedia) -> Mapping[str, Any]:
    """For the page's script."""
    strips = []
    for strip in media.strips:
        times = [round(moment, 2) for moment in strip.times]
        strips.append({"title": strip.title, "source": strip.source, "times": times})
    return {
        "strips": strips,
        "sound": media.sound,
        "problems": media.problems,
    }
