"""`probe`: what a media file says about itself, from its header alone (nothing is decoded)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pave.media.container import must_decode, open_media, sound_stream, video_stream


@dataclass(frozen=True)
class VideoInfo:
    """The picture track.

    Attributes:
        width: Pixels as shown, after rotation.
        height: Pixels as shown, after rotation.
        fps: Average frames per second (a variable-rate file has no other).
        frames: Frames as the header counts them, or estimated from duration and rate where it does
            not.
        rotation: Degrees (multiple of 90, counter-clockwise) by which the stored picture is turned
            to be shown.
    """

    width: int
    height: int
    fps: float
    frames: int
    rotation: int


@dataclass(frozen=True)
class SoundInfo:
    """The sound track that is heard.

    Attributes:
        rate: Samples per second.
        channels: Of this track.
        track: Its number among the file's sound tracks, from 1.
        tracks: How many sound tracks there are.
    """

    rate: int
    channels: int
    track: int = 1
    tracks: int = 1


@dataclass(frozen=True)
class MediaInfo:
    """A media file's header: path, seconds, picture and sound track (None where it has none)."""

    path: Path
    duration: float
    video: VideoInfo | None
    sound: SoundInfo | None


def probe(path: str | Path) -> MediaInfo:
    """Read a file's header.

    Args:
        path: A media file (not a folder of frames).

    Returns:
        What the file says about itself.

    Raises:
        MediaError: If the file is missing, empty, truncated or no media file, or a track's codec is
            unknown.
    """
    with open_media(path) as container:
        duration = (container.duration or 0) / av.time_base  # microseconds -> s
        return MediaInfo(
            Path(path), duration, _video_info(container, duration), _sound_info(container)
        )


def frame_rate(path: str | Path) -> float:
    """Average frames per second of a file's picture track; 0 where the header tells none.

    Raises:
        MediaError: If the file is missing, empty, truncated or no media file.
    """
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            return 0.0
        return _rate(stream)


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


def _sound_info(container: InputContainer) -> SoundInfo | None:
    """The sound track."""
    stream = sound_stream(container)
    if stream is None:
        return None
    must_decode(container, stream)
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    tracks = container.streams.audio
    return SoundInfo(int(rate), int(channels), tracks.index(stream) + 1, len(tracks))


def _video_info(container: InputContainer, duration: float) -> VideoInfo | None:
    """The picture track; its rotation is kept with the frames, so the first one is decoded."""
    stream = video_stream(container)
    if stream is None:
        return None
    must_decode(container, stream)
    fps = _rate(stream)
    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    # Matroska counts no frames, AVI and MP4 do.
    frames = stream.frames or round(duration * fps)
    width, height = stream.codec_context.width, stream.codec_context.height
    first = next(container.decode(stream), None)
    rotation = 0
    if first is not None:
        rotation = round(first.rotation / 90) * 90 % 360  # FFmpeg's is -180 to 180, and a float
    if rotation % 180:
        width, height = height, width
    return VideoInfo(width, height, fps, frames, rotation)
