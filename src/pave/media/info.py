"""`probe`: what a media file says about itself, in its header or in the times of its frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

from pave.media.clock import Clock, tracks
from pave.media.container import has_flag, must_decode, open_media, sound_stream, video_stream
from pave.media.index import Seconds, frame_step, indices
from pave.media.orientation import Orientation, orientation

# Bare streams of sound: FFmpeg guesses their length from the bit rate of the first moments.
_NO_LENGTH = {"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "loas", "mp3"}
# Frames per second above which a rate is more likely the tick of a clock.
_FASTEST = 240
_UNCOUNTED = 1 << 30  # frames: FFmpeg's placeholder in an AVI that goes into a pipe
# A bare stream's padding, s, which a header that tells the length leaves out.
_PADDING = 0.25


@dataclass(frozen=True)
class VideoInfo:
    """The picture track.

    Attributes:
        width: Pixels as shown, after rotation.
        height: Pixels as shown, after rotation.
        fps: Average frames per second (a variable-rate file has no other).
        frames: Frames as the header counts them, or estimated from its duration and rate where it
            does not; counted where it has neither.
        rotation: Degrees (multiple of 90, counter-clockwise) by which the stored picture is turned
            to be shown.
        mirrored: Whether it is mirrored, left to right, before it is turned.
    """

    width: int
    height: int
    fps: float
    frames: int
    rotation: int
    mirrored: bool = False


@dataclass(frozen=True)
class SoundInfo:
    """The sound track that is heard.

    Attributes:
        rate: Samples per second; 0 if neither the header nor a frame tells.
        channels: Of this track; 0 likewise.
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
    """Read a file's header; where that does not tell, the times of its frames.

    Args:
        path: A media file (not a folder of frames).

    Returns:
        What the file says about itself.

    Raises:
        MediaError: If the file is missing, empty, truncated or no media file, or a track's codec is
            unknown.
    """
    path = Path(path)
    with open_media(path) as container:
        picture, sound = _video_info(container), _sound_info(container)
        duration = (container.duration or 0) / av.time_base  # microseconds -> s
        told = _tells(container)
        guessed = container.format.name in _NO_LENGTH
    if sound is not None and not sound.rate:
        sound = _first_sound(path, sound)
    if told and not guessed:
        return MediaInfo(path, duration, picture, sound)
    times: Seconds = np.zeros(0)
    if picture is not None:
        times = next(indices(path)).times
        picture = replace(picture, frames=len(times), fps=_measured_rate(times, picture.fps))
    seconds = _measured_seconds(path, times)
    if guessed and abs(seconds - duration) < _PADDING:
        seconds = duration
    return MediaInfo(path, seconds, picture, sound)


def frame_rate(path: str | Path) -> float:
    """Average frames per second of a file's picture track; 0 where it shows but one frame.

    Taken from the header, or from the frames' times where the header has no duration: what it says
    of rates then is a guess.

    Raises:
        MediaError: If the file is missing, empty, truncated or no media file.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            return 0.0
        rate = _rate(container, stream)
        if _tells(container):
            return rate
    return _measured_rate(next(indices(path)).times, rate)


def _tells(container: InputContainer) -> bool:
    """Whether duration and rate in the header can be believed."""
    # A transport stream has no header: FFmpeg takes the last time less the first one, whatever the
    # clock did in between.
    if not container.duration or has_flag(container, Flags.ts_discont):
        return False
    if has_flag(container, Flags.no_timestamps):  # what FFmpeg says of such a length is a guess
        return False
    stream = video_stream(container)
    if stream is None:
        return True
    return 0 < (stream.average_rate or 0) <= _FASTEST and stream.frames < _UNCOUNTED


def _rate(container: InputContainer, stream: VideoStream) -> float:
    """Frames per second as the header has them; 0 where it does not."""
    if has_flag(container, Flags.no_timestamps):
        return 1 / frame_step(container, stream)
    return float(stream.average_rate or 0)


def _measured_rate(times: Seconds, told: float) -> float:
    """Frames per second from their times; what the header says if that is right or all there is."""
    if len(times) < 2:
        return told
    found = float((len(times) - 1) / times[-1])
    if abs(found - told) < 1e-3 * found:  # rounding alone keeps them apart
        return told
    return found


def _measured_seconds(path: Path, times: Seconds) -> float:
    """From the first to the end of the last frame or sample, on a clock that never jumps."""
    begin, end = math.inf, 0.0
    with open_media(path) as container:
        picture = video_stream(container)
        for packet in Clock(container).packets(*tracks(container, picture)):
            if packet.pts is None or not packet.size:
                continue
            stands = float(packet.pts * packet.time_base)
            begin = min(begin, stands)
            end = max(end, stands + float((packet.duration or 0) * packet.time_base))
    shown = 0.0
    if len(times) > 1:
        shown = float(times[-1] * len(times) / (len(times) - 1))  # the last frame as long as any
    return max(shown, end - begin)


def _sound_info(container: InputContainer) -> SoundInfo | None:
    """The sound track."""
    stream = sound_stream(container)
    if stream is None:
        return None
    must_decode(container, stream)
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    tracks = container.streams.audio
    return SoundInfo(int(rate), int(channels), tracks.index(stream) + 1, len(tracks))


def _first_sound(path: Path, sound: SoundInfo) -> SoundInfo:
    """Rate and channels of the first frame, for sound that begins too late for the header."""
    with open_media(path) as container:
        stream = sound_stream(container)
        if stream is None:
            return sound
        for packet in container.demux(stream):
            for frame in stream.decode(packet):
                return replace(sound, rate=frame.sample_rate, channels=frame.layout.nb_channels)
    return sound


def _video_info(container: InputContainer) -> VideoInfo | None:
    """The picture track; its rotation is kept with the frames, so the first one is decoded."""
    stream = video_stream(container)
    if stream is None:
        return None
    must_decode(container, stream)
    fps = _rate(container, stream)
    duration = (container.duration or 0) / av.time_base
    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    # Matroska counts no frames, AVI and MP4 do.
    frames = stream.frames or round(duration * fps)
    width, height = stream.codec_context.width, stream.codec_context.height
    turn = Orientation()
    first = next(container.decode(stream), None)
    if first is not None:
        turn = orientation(first)
    if turn.transposed:
        width, height = height, width
    return VideoInfo(width, height, fps, frames, turn.rotation, turn.is_mirrored)
