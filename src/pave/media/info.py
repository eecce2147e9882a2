"""`probe`: what a media file says about itself, in its header or in the times of its frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from av.format import Flags
from av.video.stream import VideoStream

from pave.errors import MediaError
from pave.files import as_path
from pave.media.container import MediaFile, open_media
from pave.media.formats import NO_LENGTH
from pave.media.frames import frame_times
from pave.media.index import bare, frame_step, index_of_packets
from pave.media.orientation import AS_STORED, EXCHANGED, as_turn, orientation
from pave.media.packets import NO_TIME, Packets, Seconds, read_packets

# Frames per second above which a rate is more likely the tick of a clock.
_FASTEST = 240
_UNCOUNTED = 1 << 30  # frames: FFmpeg's placeholder in an AVI that goes into a pipe
# Bits a second below which a length is no length: a writer into a pipe that left a placeholder.
_FEWEST_BITS = 100
# A bare stream's padding, s, which a header that tells the length leaves out.
_PADDING = 0.25
# Seconds from which on it counts that a length is that of a clock which does not begin at 0.
_LATE = 0.5


@dataclass(frozen=True)
class VideoInfo:
    """The picture track.

    Attributes:
        width: Pixels as shown, after rotation.
        height: Pixels as shown, after rotation.
        fps: Average frames per second (a variable-rate file has no other).
        frames: Frames as the header counts them; counted in the file where it does not.
        rotation: Degrees (multiple of 90, counter-clockwise) by which the stored picture is turned
            to be shown.
        mirrored: Whether it is mirrored, left to right, before it is turned.
        frames_estimated: Whether some of `frames` may never be shown: VP8, MPEG-4 and others have
            packets without a picture, and none is decoded here to know.
    """

    width: int
    height: int
    fps: float
    frames: int
    rotation: int
    mirrored: bool = False
    frames_estimated: bool = False


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
    path = as_path(path, MediaError, "a media file")
    times: Seconds = np.zeros(0)
    with open_media(path) as media:
        picture = _video_info(media)
        sound = _sound_info(media)
        duration = (media.container.duration or 0) / av.time_base  # microseconds -> s
        guessed = media.container.format.name in NO_LENGTH
        if _tells(media) and not guessed:
            counted = picture is None or not picture.frames_estimated
            late = _begins(media) > _LATE
            if counted and not late:
                return MediaInfo(path, duration, picture, sound)
            media.rewind()
            packets = read_packets(media)
            if picture is not None and not counted:
                picture = _counted(media, packets, picture)
            if late:
                duration = min(duration, _span(media, packets))
            return MediaInfo(path, duration, picture, sound)
        if picture is not None:
            times = frame_times(path)
            rate = _measured_rate(times, picture.fps)
            picture = replace(picture, frames=len(times), fps=rate, frames_estimated=False)
        media.rewind()
        seconds = float(_measured_seconds(media, times))
    if guessed and abs(seconds - duration) < _PADDING:
        seconds = duration
    return MediaInfo(path, seconds, picture, sound)


def frame_rate(path: str | Path) -> float:
    """Average frames per second of a file's picture track; 0 where it shows but one frame.

    Taken from the header if that counts the frames, else from their times: the rate that Matroska
    notes is one that the writer meant, and fragments have none at all.

    Raises:
        MediaError: If the file is missing, empty, truncated or no media file.
    """
    with open_media(path) as media:
        if media.picture is None:
            return 0.0
        rate = _rate(media, media.picture)
        if _tells(media) and media.picture.frames:
            return rate
    return _measured_rate(frame_times(path), rate)


def _tells(media: MediaFile) -> bool:
    """Whether duration and rate in the header can be believed."""
    # A transport stream has no header: FFmpeg takes the last time less the first one, whatever the
    # clock did in between.
    if not media.container.duration or Flags.ts_discont in media.flags:
        return False
    if Flags.no_timestamps in media.flags:  # what FFmpeg says of such a length is a guess
        return False
    seconds = media.container.duration / av.time_base
    if 8 * Path(media.file).stat().st_size < _fewest_bits(media) * seconds:
        return False
    stream = media.picture
    if stream is None:
        return True
    return 0 < (stream.average_rate or 0) <= _FASTEST and stream.frames < _UNCOUNTED


def _fewest_bits(media: MediaFile) -> float:
    """Bits a second that a file of this kind has at least."""
    if media.picture is None and media.sound is not None:
        codec = media.sound.codec_context
        if codec is not None and codec.name.startswith("pcm_"):  # each second is as large
            return max(_FEWEST_BITS, 0.9 * (codec.bit_rate or 0))
    return _FEWEST_BITS


def _rate(media: MediaFile, stream: VideoStream) -> float:
    """Frames per second as the header has them; 0 where it does not."""
    if Flags.no_timestamps in media.flags:
        return 1 / frame_step(media, stream)
    return float(stream.average_rate or 0)


def _measured_rate(times: Seconds, told: float) -> float:
    """Frames per second from their times; what the header says if that is right or all there is."""
    if len(times) < 2:
        return told
    found = float((len(times) - 1) / times[-1])
    if abs(found - told) < 1e-3 * found:  # rounding alone keeps them apart
        return told
    return found


def _measured_seconds(media: MediaFile, times: Seconds) -> float:
    """From the first to the end of the last frame or sample, on a clock that never jumps."""
    shown = 0.0
    if len(times) > 1:
        shown = float(times[-1] * len(times) / (len(times) - 1))  # the last frame as long as any
        if bare(media):
            return shown
    return max(shown, _span(media, read_packets(media)))


def _span(media: MediaFile, packets: Packets) -> float:
    """Seconds from the first packet's begin to the end of the last one."""
    begin, end = math.inf, 0.0
    for stream in media.container.streams:
        mine = (packets.tracks == stream.index) & packets.full & (packets.pts != NO_TIME)
        if mine.any():
            tick = float(stream.time_base or 1)  # s
            begins = packets.pts[mine]
            ends = begins + packets.durations[mine]
            begin = min(begin, begins.min() * tick)
            end = max(end, ends.max() * tick)
    if begin > end:  # there is none
        return 0.0
    return end - begin


def _begins(media: MediaFile) -> float:
    """Seconds before the first packet that the header counts as part of the film."""
    # What these note is where the last frame ends, wherever the first one begins.
    if media.container.format.name in ("matroska,webm", "nut"):
        return (media.container.start_time or 0) / av.time_base
    return 0.0


def _counted(media: MediaFile, packets: Packets, picture: VideoInfo) -> VideoInfo:
    """The picture track with its frames counted, and the rate that follows."""
    stream = media.picture
    if stream is None or packets.damage is not None:
        return picture
    index = index_of_packets(packets, stream)
    if index is not None:
        times = index.times
    else:
        shown = (packets.tracks == stream.index) & packets.full & ~packets.hidden
        ticks = np.sort(packets.pts[shown & (packets.pts != NO_TIME)])
        times = (ticks - ticks[:1]) * float(stream.time_base or 1)
    if len(times) == 0 or (len(times) > 1 and times[-1] <= 0):
        return picture
    rate = _measured_rate(times, picture.fps)
    return replace(picture, frames=len(times), fps=rate, frames_estimated=index is None)


def _sound_info(media: MediaFile) -> SoundInfo | None:
    """The sound track."""
    stream = media.sound
    if stream is None:
        return None
    media.must_decode(stream)
    codec = stream.codec_context
    rate = codec.sample_rate
    channels = codec.channels
    tracks = media.container.streams.audio
    number = tracks.index(stream) + 1
    if not rate:  # it begins too late for the header: its first frame tells
        rate, channels = _first_sound(media)
    return SoundInfo(int(rate), int(channels), number, len(tracks))


def _first_sound(media: MediaFile) -> tuple[int, int]:
    """Rate and channels of the first frame of sound; 0 where there is none."""
    media.rewind()
    if media.sound is None:
        return 0, 0
    for frame in media.container.decode(media.sound):
        return frame.sample_rate, frame.layout.nb_channels
    return 0, 0


def _video_info(media: MediaFile) -> VideoInfo | None:
    """The picture track; its rotation is kept with the frames, so the first one is decoded."""
    stream = media.picture
    if stream is None:
        return None
    media.must_decode(stream)
    fps = _rate(media, stream)
    duration = (media.container.duration or 0) / av.time_base
    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    # Matroska counts no frames, AVI and MP4 do.
    frames = stream.frames or round(duration * fps)
    width = stream.codec_context.width
    height = stream.codec_context.height
    way = AS_STORED
    first = next(media.container.decode(stream), None)
    if first is not None:
        way = orientation(first)
    if way in EXCHANGED:
        width, height = height, width
    rotation, mirrored = as_turn(way)
    estimated = not stream.frames
    return VideoInfo(width, height, fps, frames, rotation, mirrored, estimated)
