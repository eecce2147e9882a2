"""When every frame of a film is shown, and the decoder's frames, in order of display.

The packets tell it without decoding, for codecs whose every packet shows one frame and containers
that keep times of display. Others (AVI, packed MPEG-4, bare streams) are decoded once: a decoder
gives frames in order of display, whatever their timestamps say.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pave.errors import MediaError
from pave.media.clock import Clock, tracks
from pave.media.container import has_flag, must_decode, open_media, other_tracks, video_stream

Ticks = npt.NDArray[np.int64]  # of the stream's time base
Seconds = npt.NDArray[np.float64]

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
    """

    marks: Ticks
    keys: Ticks
    times: Seconds
    counted: bool


def indices(path: Path) -> Iterator[Index]:
    """Ways to know when every frame is shown, the cheap one first.

    Raises:
        MediaError: If the file is no video, or not one frame decodes.
    """
    index = _from_packets(path)
    if index is not None:
        yield index
    yield _from_frames(path)  # for files whose packets do not tell, or lie


def picture_track(path: Path, container: InputContainer) -> VideoStream:
    """The picture track, or a clear refusal.

    Raises:
        MediaError: If there is none, or nothing here decodes it.
    """
    stream = video_stream(container)
    if stream is None:
        raise MediaError(f"{path}: holds no picture, {other_tracks(container)}; give a video file")
    must_decode(container, stream)
    # A data loader's worker has one torch thread, a main process several: decode with as many, at
    # most 4.
    stream.thread_count = min(torch.get_num_threads(), 4)
    stream.thread_type = "AUTO"
    return stream


def frame_step(container: InputContainer, stream: VideoStream) -> float:
    """Seconds from frame to frame, as the header has it, for frames without a time."""
    rate = stream.average_rate or stream.guessed_rate
    if has_flag(container, Flags.no_timestamps):
        # The header is the codec's own: FFmpeg's 25 stands in the stream's, whatever the film's.
        rate = stream.codec_context.framerate
    return float(1 / (rate or FALLBACK_RATE))


def shown(
    container: InputContainer, stream: VideoStream, wanted: Container[int] | None = None
) -> Iterator[VideoFrame]:
    """Decoded frames in order of display.

    With `wanted` ticks, frames besides these come only where others are built from them.
    """
    codec = stream.codec_context
    may_skip = wanted is not None and codec.name in ONE_FRAME_A_PACKET
    for packet in _packets(container, stream, Clock(container)):
        if may_skip and wanted is not None:
            codec.skip_frame = "NONREF"  # no picture that nothing else is built from
            if packet.pts is None or packet.pts in wanted:
                codec.skip_frame = "DEFAULT"
        yield from stream.decode(packet)


def first_shown(stream: VideoStream, packet: Packet[Stream]) -> float | None:
    """Seconds of the first frame that the decoder gives, or None if it needs further packets.

    For whoever wants to know when a film begins and none of its pictures: one that nothing here
    decodes begins with its first key frame.
    """
    try:
        frame = next(iter(stream.decode(packet)), None)
    except (FFmpegError, AttributeError):  # damaged, or without a decoder
        frame = None
        if packet.is_keyframe and packet.pts is not None:
            return float(packet.pts * packet.time_base)
    if frame is None or frame.time is None:
        return None
    return float(frame.time)


def _packets(
    container: InputContainer, stream: VideoStream, clock: Clock
) -> Iterator[Packet[Stream]]:
    """What a decoder can take of the picture track; the last one empties it."""
    for packet in clock.packets(*tracks(container, stream)):
        # Not `packet.stream_index`: it is wrong in the packets that flush a decoder.
        if packet.stream.index != stream.index:
            continue
        # Theora and Flash have empty packets that mean "the same again", which PyAV would take for
        # the end. At the end itself a packet has no time either.
        if packet.size or packet.pts is None:
            yield packet


def _from_packets(path: Path) -> Index | None:
    """Every frame's time from the packets alone; None where packets do not tell."""
    with open_media(path) as container:
        stream = picture_track(path, container)
        if stream.codec_context.name not in ONE_FRAME_A_PACKET:
            return None
        clock = Clock(container)
        told = _read_packets(_packets(container, stream, clock), stream)
        tick = float(stream.time_base or 1)  # s
        reorders = bool(stream.codec_context.has_b_frames)
    if told is None:
        return None
    pts, keys, first = told
    if reorders and len(pts) > 1 and bool((np.diff(pts) > 0).all()):
        return None  # AVI keeps no times of display: these are made up from those of decoding
    marks = np.sort(pts)
    marks = marks[marks >= first]
    if clock.jumps:
        keys = keys[:1]  # where to jump to cannot be told by a clock that does so itself
    seconds = (marks - marks[0]) * tick
    return Index(marks, np.sort(keys), seconds, counted=False)


def _read_packets(
    packets: Iterator[Packet[Stream]], stream: VideoStream
) -> tuple[Ticks, Ticks, int] | None:
    """Ticks of all frames, in order of decoding, of the key frames, and of the first one shown."""
    pts: list[int] = []
    keys: list[int] = []
    first: int | None = None
    for packet in packets:
        if first is None:
            # A film cut inside an open group begins with frames that the decoder never gives.
            first = next((frame.pts for frame in stream.decode(packet)), None)
        if not packet.size:  # the end
            continue
        if packet.pts is None:
            return None
        if packet.is_keyframe:
            keys.append(packet.pts)
        # An edit list marks frames that are decoded and never shown.
        if not packet.is_discard:
            pts.append(packet.pts)
    if first is None or not keys or len(set(pts)) < len(pts):
        return None
    return np.asarray(pts, dtype=np.int64), np.asarray(keys, dtype=np.int64), first


def _from_frames(path: Path) -> Index:
    """Every frame's time by decoding all of them, one at a time: slow, and always right."""
    with open_media(path) as container:
        stream = picture_track(path, container)
        ticks = [frame.pts for frame in shown(container, stream)]
        tick = float(stream.time_base or 1)  # s
        step = frame_step(container, stream)
    if not ticks:
        raise MediaError(f"{path}: not one frame can be decoded; convert it to H.264")
    seconds = in_display_order(ticks, tick, step)
    marks = np.arange(len(ticks))
    # One key, the first frame: then nothing is ever jumped over.
    return Index(marks, marks[:1], seconds - seconds[0], counted=True)


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
