"""When every frame of a film is shown, and where decoding can begin.

The packets tell it without decoding, for codecs whose every packet shows one frame and containers
that keep times of display. Others (AVI, packed MPEG-4, bare streams) are decoded once: a decoder
gives frames in order of display, whatever their timestamps say.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from av.format import Flags
from av.video.stream import VideoStream

from pave.media.container import MediaFile
from pave.media.formats import STREAMS
from pave.media.packets import NO_TIME, Packets, Seconds, Ticks

logger = logging.getLogger(__name__)

# Codecs whose every packet shows exactly one frame. VP8 has packets that show none, packed MPEG-4
# has packets with two.
ONE_FRAME_A_PACKET = {
    "h264",
    "hevc",
    "av1",
    "libdav1d",
    "vp9",
    "libvpx-vp9",
    "mpeg2video",
    "mjpeg",
    "prores",
}
_BARE = set(STREAMS.split())
FALLBACK_RATE = 25  # frames a second of a bare stream that says nothing; FFmpeg's own choice


@dataclass(frozen=True)
class Index:
    """When every frame is shown.

    Attributes:
        marks: `[N]` what names a frame while decoding, increasing: its ticks, or its number if
            `counted`.
        keys: `[K]` marks of the key frames, at which decoding can begin.
        times: `[N]` float64 seconds from the first frame, increasing.
        counted: Frames are told apart by counting from the beginning.
        packets: What the film's packets say.
    """

    marks: Ticks
    keys: Ticks
    times: Seconds
    counted: bool
    packets: Packets


def index_of_packets(packets: Packets, stream: VideoStream) -> Index | None:
    """Every frame's time from the packets alone; None where packets do not tell.

    Raises:
        FFmpegError: If the film is damaged in front of its first frame.
    """
    if packets.damage is not None:
        raise packets.damage
    if stream.codec_context.name not in ONE_FRAME_A_PACKET or packets.first is None:
        return None
    mine = (packets.tracks == stream.index) & packets.full
    keys = packets.pts[mine & packets.keys]
    pts = packets.pts[mine & ~packets.hidden]  # in order of decoding
    marks = np.unique(pts)
    told = NO_TIME not in packets.pts[mine]
    if not told or len(keys) == 0 or len(marks) < len(pts):
        return None
    reorders = bool(stream.codec_context.has_b_frames)
    if reorders and len(pts) > 1 and np.array_equal(marks, pts):
        return None  # AVI keeps no times of display: these are made up from those of decoding
    marks = marks[marks >= packets.first]
    if packets.moved.any():
        keys = keys[:1]  # where to jump to cannot be told by a clock that does so itself
    seconds = (marks - marks[0]) * float(stream.time_base or 1)
    return Index(marks, np.sort(keys), seconds, counted=False, packets=packets)


def index_of_frames(
    ticks: Sequence[int | None], tick: float, step: float, packets: Packets
) -> Index:
    """Every frame's time from the timestamps of all frames, in the decoder's order.

    Args:
        ticks: `[N]` at least one, see `in_display_order`.
        tick: Seconds of a tick.
        step: Seconds from frame to frame, where nothing else tells it.
        packets: What the film's packets say.
    """
    seconds = in_display_order(ticks, tick, step)
    marks = np.arange(len(ticks))
    first = marks[:1]  # the one key: then nothing is ever jumped over
    return Index(marks, first, seconds - seconds[0], counted=True, packets=packets)


def frame_step(media: MediaFile, stream: VideoStream) -> float:
    """Seconds from frame to frame, as the header has it, for frames without a time."""
    rate = stream.average_rate or stream.guessed_rate
    if Flags.no_timestamps in media.flags:
        # The header is the codec's own: FFmpeg's 25 stands in the stream's, whatever the film's.
        rate = stream.codec_context.framerate
        if rate and stream.codec_context.name == "mpeg4":
            rate = stream.guessed_rate  # that codec counts the ticks of a second
        if not rate:
            _tell_guess(media.name)
    return float(1 / (rate or FALLBACK_RATE))


def bare(media: MediaFile) -> bool:
    """Whether it is a codec's stream without a container: its frames carry no times at all."""
    return media.container.format.name in _BARE


@lru_cache(maxsize=1000)
def _tell_guess(name: str) -> None:
    """Say it once of a file, which is read several times."""
    logger.warning(
        "%s: does not record its frame rate; %d frames per second is a guess, so put the film "
        "into a container that records it (`ffmpeg -r RATE -i FILE -c copy film.mkv`)",
        name,
        FALLBACK_RATE,
    )


def in_display_order(ticks: Sequence[int | None], tick: float, step: float) -> Seconds:
    """Increasing times for frames that stand in order of display and carry any timestamps.

    Timestamps in the order of decoding are the right ones, dealt out wrongly: they are sorted.
    Frames without one, or with that of another frame, are spread evenly up to the next.

    Args:
        ticks: `[N]` timestamps, None where a frame has none.
        tick: Seconds of a tick.
        step: Seconds from frame to frame, where nothing else tells it.

    Returns:
        `[N]` float64 seconds.

    Example:
        >>> in_display_order([1, 4, 3, None, 2], 0.5, 0.5).tolist()
        [0.5, 1.0, 1.5, 1.75, 2.0]
    """
    known = [place for place, time in enumerate(ticks) if time is not None]
    if not known:
        return np.arange(len(ticks), dtype=np.float64) * step
    stamps = np.sort(np.array([ticks[place] for place in known], dtype=np.int64))
    distinct = np.append(True, np.diff(stamps) > 0)  # the first of each run of equal ones
    places, seconds = np.array(known)[distinct], stamps[distinct] * tick
    order = np.arange(len(ticks))
    spread: Seconds = np.interp(order, places, seconds)
    # Before the first known time and behind the last one.
    outside = np.minimum(order - places[0], 0) + np.maximum(order - places[-1], 0)
    moved: Seconds = spread + outside * step
    return moved
