"""`read_frames` and `stream_frames`: chosen frames of a video or a folder, with their real times.

Only the chosen frames are ever held, by `stream_frames` only a few of them. A first pass reads
packets without decoding (cheap) and so learns every frame's timestamp; then the stream is decoded
from front to back, jumping ahead only where the next wanted frame lies behind a later key frame,
and leaving out pictures on the way that no other picture is built from. The result is the same as
decoding everything, which a test proves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from pave.errors import MediaError
from pave.files import as_path
from pave.media.container import MediaFile, open_media
from pave.media.folder import folder_times, read_folder, read_pictures
from pave.media.index import Index, bare, frame_step, index_of_frames, index_of_packets
from pave.media.limits import must_hold_clip
from pave.media.orientation import EXCHANGED, orientation, turned
from pave.media.packets import NO_TIME, Packets, Ticks, move, read_packets
from pave.media.sampling import Rate, Sampling, at_least, choose, must_be_sampling
from pave.media.shorter import tell_if_short

Picture = npt.NDArray[np.uint8]  # [H, W, 3]

_OUT_OF_ORDER = "its timestamps are out of order, so frames cannot be chosen; convert it to H.264"


@dataclass(frozen=True)
class Frames:
    """Some frames of a clip.

    Attributes:
        pixels: `[F, 3, H, W]` uint8 RGB.
        times: `[F]` float64, seconds from the clip's first frame.
        duration: Seconds of the whole clip, its last frame's included, as far as they are known.
    """

    pixels: Tensor
    times: Tensor
    duration: float | None = None


def read_frames(path: str | Path, sampling: Sampling, *, folder_fps: float = 1.0) -> Frames:
    """Decode the frames that a sampling chooses.

    Rotation stored in the file is applied to the pixels; non-square pixels are not stretched.
    Timestamps are the file's own, so a variable frame rate is right.

    Args:
        path: A video file, or a folder of jpg/png frames that are sorted by name (numbers by
            value).
        sampling: `Uniform(count)`, `Rate(fps, at_most)` or `At(times)`.
        folder_fps: Frames per second of a folder: its pictures carry no time, so picture i is given
            `i / folder_fps`.

    Returns:
        The frames in the order of the sampling.

    Raises:
        MediaError: If the path is missing, no video, truncated, or cannot be decoded; if more
            frames are held at once than `PAVE_MAX_CLIP_PIXELS` allows.

    Example:
        >>> read_frames("concert.mp4", Uniform(4)).times  # doctest: +SKIP
        tensor([ 0.0000, 19.9167, 39.8750, 59.8333], dtype=torch.float64)
    """
    path = as_path(path, MediaError, "a video")
    must_be_sampling(sampling)
    if os.path.isdir(path):
        duration = len(folder_times(path, folder_fps)) / folder_fps
        return Frames(*read_folder(path, sampling, folder_fps), duration)
    with open_media(path) as media:
        for index in _indices(media, sampling):
            # The last frame is shown as long as the others are on average.
            count = len(index.times)
            duration = round(float(index.times[-1]) * count / max(count - 1, 1), 6)
            chosen = choose(index.times, sampling)  # [F], some perhaps twice
            in_order = np.argsort(chosen, kind="stable")
            pieces = _pieces(media, index, chosen[in_order], len(chosen))
            whole = next(pieces, None)
            if whole is None:
                continue  # the packets lied: try the other index
            if np.array_equal(chosen, chosen[in_order]):
                return Frames(whole.pixels, whole.times, duration)
            asked = torch.from_numpy(np.argsort(in_order))  # times of `At` in any order
            return Frames(whole.pixels[asked], whole.times[asked], duration)
    raise MediaError(f"{path}: {_OUT_OF_ORDER}")


def stream_frames(
    path: str | Path, sampling: Sampling, size: int, *, folder_fps: float = 1.0
) -> Iterator[Frames]:
    """As `read_frames`, a few frames at a time: only one piece of the video is in memory.

    Args:
        path: A video file, or a folder of pictures.
        sampling: Which frames; those of `At` must be in order of time.
        size: Frames in a piece; the last piece may be shorter.
        folder_fps: Frames per second of a folder.

    Yields:
        The pieces, in order; together they are what `read_frames` gives.

    Raises:
        MediaError: If the path is missing, no video, truncated, or cannot be decoded; if more
            frames are held at once than `PAVE_MAX_CLIP_PIXELS` allows.

    Example:
        >>> for piece in stream_frames("match.mp4", Rate(8.0), 32): ...  # doctest: +SKIP
    """
    path = as_path(path, MediaError, "a video")
    must_be_sampling(sampling)
    if os.path.isdir(path):
        times = folder_times(path, folder_fps)
        chosen = choose(times, sampling)
        for begin in range(0, len(chosen), size):
            part = chosen[begin : begin + size]
            yield Frames(read_pictures(path, part), torch.from_numpy(times[part]))
        return
    done = 0  # frames that were handed out, before an index turned out to be wrong
    with open_media(path) as media:
        for index in _indices(media, sampling, size):
            chosen = choose(index.times, sampling)
            for frames in _pieces(media, index, chosen[done:], size):
                done += len(frames.times)
                yield frames
            if done == len(chosen):
                return
    raise MediaError(f"{path}: {_OUT_OF_ORDER}")


def frame_times(path: str | Path, *, folder_fps: float = 1.0) -> npt.NDArray[np.float64]:
    """`[N]` seconds from the first frame of all frames, without decoding where that is possible.

    Raises:
        MediaError: If the path is missing or no video.
    """
    path = as_path(path, MediaError, "a video")
    if os.path.isdir(path):
        return folder_times(path, folder_fps)
    with open_media(path) as media:
        return next(_indices(media, Rate(1.0))).times


def _indices(media: MediaFile, sampling: Sampling, size: int | None = None) -> Iterator[Index]:
    """Ways to know when every frame is shown, the cheap one first.

    Args:
        media: At its first packet.
        sampling: For what: what nobody can hold is refused before all frames are decoded.
        size: Frames that are held at once; None for all.

    Raises:
        MediaError: If the file is no video, not one frame decodes, or too many are asked for.
    """
    stream = media.shown_track()
    step = frame_step(media, stream)
    packets = read_packets(media)
    tell_if_short(media, packets)
    index = index_of_packets(packets, stream)
    if index is not None:
        yield index
    # For files whose packets do not tell, or lie: all frames, one at a time. Slow, always right.
    media.rewind()
    stream = media.shown_track()
    count = at_least(sampling)
    held = min(count, size or count)
    width = stream.codec_context.width
    height = stream.codec_context.height
    must_hold_clip(media.name, held, width, height)
    shown = _shown(media, stream, packets)
    ticks = [frame.pts for _, frame in shown]
    if not ticks:
        raise MediaError(f"{media.name}: no frame can be decoded; convert it to H.264")
    if bare(media):
        ticks = [None] * len(ticks)  # those of FFmpeg's parser, which loses count now and then
    elif ticks[0] is not None and packets.first is not None:
        ticks[0] = max(ticks[0], packets.first)
    tick = float(stream.time_base or 1)  # s
    yield index_of_frames(ticks, tick, step, packets)


def _pieces(media: MediaFile, index: Index, chosen: Ticks, size: int) -> Iterator[Frames]:
    """Pieces of `size` frames, as far as the decoder gets; what is wanted twice is repeated.

    Args:
        media: The film, read up to anywhere.
        index: When its frames are shown.
        chosen: `[F]` numbers of frames, in order.
        size: Frames in a piece.
    """
    media.rewind()
    stream = media.shown_track()
    width = stream.codec_context.width
    height = stream.codec_context.height
    held = min(size, len(chosen))
    must_hold_clip(media.name, held, width, height)
    wanted = np.unique(index.marks[chosen])
    decoded = _decode(media, stream, index, wanted)
    last = NO_TIME
    picture = np.empty((0, 0, 3), np.uint8)  # [H, W, 3], that of `last`
    for begin in range(0, len(chosen), size):
        part = chosen[begin : begin + size]
        marks = index.marks[part].tolist()
        times = torch.from_numpy(index.times[part])
        pixels = np.empty(0, np.uint8)
        for place, mark in enumerate(marks):
            if mark != last:  # else the same frame once more
                last, picture = next(decoded, (NO_TIME, picture))
            if mark != last:
                return
            if place == 0:  # filled in place, so that nothing is held twice
                height, width = picture.shape[:2]
                must_hold_clip(media.name, len(part), width, height)
                pixels = np.empty((len(part), 3, height, width), np.uint8)
            pixels[place] = picture.transpose(2, 0, 1)
        yield Frames(torch.from_numpy(pixels), times)


def _decode(
    media: MediaFile, stream: VideoStream, index: Index, wanted: Ticks
) -> Iterator[tuple[int, Picture]]:
    """The wanted frames, `[W]` marks in order; ends early if one of them never comes."""
    goals: set[int] | None = None
    if not index.counted:
        goals = set(wanted.tolist())
    # For each wanted frame the last key frame that is not behind it.
    key_of = np.searchsorted(index.keys, wanted, side="right") - 1  # [W]
    at_key = 0
    shape: tuple[int | None, ...] = None, None
    frames = _shown(media, stream, index.packets, goals)
    for goal, key in zip(wanted.tolist(), key_of.tolist(), strict=True):
        if key > at_key:  # jumping skips work; else decoding just goes on
            at_key = key
            # Not every format can be sought in; then decoding goes on, too.
            with suppress(FFmpegError):
                media.container.seek(int(index.keys[at_key]), stream=stream)
                frames = _shown(media, stream, index.packets, goals)
        # Those in front of it were decoded because it is built from them.
        from_goal = (pair for pair in frames if pair[0] >= goal)
        mark, frame = next(from_goal, (None, None))
        if frame is None or mark != goal:
            return
        # Turned as the file says; of the first picture's size, should the stream change it.
        way = orientation(frame)
        height, width = shape
        if way in EXCHANGED:
            height, width = width, height
        # One thread: a converter's threads that live in a frame are missing after a fork, and a
        # data loader's worker that lets go of the frame would wait for them for ever.
        stored = frame.to_ndarray(format="rgb24", width=width, height=height, threads=1)
        upright: Picture = turned(stored.astype(np.uint8, copy=False), way)  # [H, W, 3]
        shape = upright.shape[:2]
        yield goal, upright


def _shown(
    media: MediaFile,
    stream: VideoStream,
    packets: Packets,
    goals: set[int] | None = None,
) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames in order of display with their marks: ticks, or numbers without `goals`.

    With goals, which are ticks, other frames come only where some are built from them; it ends
    where ticks do not increase: then they are not those of display.
    """
    codec = stream.codec_context
    count, last = 0, NO_TIME
    begun = False  # a picture came that needs no other one
    moves = packets.moves(stream)
    demuxed = media.packets(stream)
    for packet, ticks in zip(demuxed, moves, strict=False):
        if not packet.size and packet.pts is not None:  # "the same again", no end
            continue
        if ticks:
            move(packet, ticks)
        if goals is not None:
            codec.skip_frame = "NONREF"  # no picture that nothing else is built from
            if packet.pts is None or packet.pts in goals:
                codec.skip_frame = "DEFAULT"
        begun = begun or packet.is_keyframe or count > 0
        for frame in _pictures(stream, packet, begun):
            mark = count
            if goals is not None:
                if frame.pts is None or frame.pts <= last:
                    return
                mark = last = frame.pts
            count += 1
            yield mark, frame


def _pictures(stream: VideoStream, packet: Packet[VideoStream], begun: bool) -> list[VideoFrame]:
    """What a decoder makes of a packet.

    Args:
        stream: The film.
        packet: Of its.
        begun: Whether a picture came that needs no other one; before it some cannot be decoded.
    """
    try:
        return stream.decode(packet)
    except FFmpegError:
        if begun:
            raise
        return []
