"""`read_frames` and `stream_frames`: chosen frames of a video or a folder, with their real times.

Only the chosen frames are ever held, by `stream_frames` only a few of them. A first pass reads
packets without decoding (cheap) and so learns every frame's timestamp; then the stream is decoded
from front to back, jumping ahead only where the next wanted frame lies behind a later key frame,
and leaving out pictures on the way that no other picture is built from. The result is the same as
decoding everything, which a test proves.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from pave.errors import MediaError
from pave.media.container import must_decode, open_media, other_tracks, video_stream
from pave.media.folder import folder_times, read_folder, read_pictures
from pave.media.sampling import Sampling, choose

Picture = npt.NDArray[np.uint8]  # [H, W, 3]
Ticks = npt.NDArray[np.int64]  # of the stream's time base
_OUT_OF_ORDER = "its timestamps are out of order, so frames cannot be chosen; convert it to H.264"

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


@dataclass(frozen=True)
class Frames:
    """Some frames of a clip.

    Attributes:
        pixels: `[F, 3, H, W]` uint8 RGB.
        times: `[F]` float64, seconds from the clip's first frame.
    """

    pixels: Tensor
    times: Tensor


@dataclass(frozen=True)
class _Index:
    """When every frame is shown.

    Attributes:
        pts: `[N]` ticks of all frames, in display order.
        keys: `[K]` ticks of the key frames, at which decoding can begin.
        times: `[N]` float64 seconds from the first frame.
    """

    pts: Ticks
    keys: Ticks
    times: npt.NDArray[np.float64]


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
        MediaError: If the path is missing, no video, truncated, or cannot be decoded.

    Example:
        >>> read_frames("concert.mp4", Uniform(4)).times  # doctest: +SKIP
        tensor([ 0.0000, 19.9167, 39.8750, 59.8333], dtype=torch.float64)
    """
    path = Path(path)
    if os.path.isdir(path):
        return Frames(*read_folder(path, sampling, folder_fps))
    for index in _indices(path):
        chosen = choose(index.times, sampling)  # [F], some perhaps twice
        wanted = np.unique(index.pts[chosen])
        pictures = dict(_decode(path, index, wanted))
        if len(pictures) < len(wanted):
            continue  # the packets lied: try the other index
        stacked = torch.from_numpy(np.stack([pictures[int(pts)] for pts in index.pts[chosen]]))
        pixels = stacked.permute(0, 3, 1, 2).contiguous()  # [F, H, W, 3] -> [F, 3, H, W]
        return Frames(pixels, torch.from_numpy(index.times[chosen]))
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
        MediaError: If the path is missing, no video, truncated, or cannot be decoded.

    Example:
        >>> for piece in stream_frames("match.mp4", Rate(8.0), 32): ...  # doctest: +SKIP
    """
    path = Path(path)
    if os.path.isdir(path):
        times = folder_times(path, folder_fps)
        chosen = choose(times, sampling)
        for begin in range(0, len(chosen), size):
            part = chosen[begin : begin + size]
            yield Frames(read_pictures(path, part), torch.from_numpy(times[part]))
        return
    done = 0  # frames that were handed out, before an index turned out to be wrong
    for index in _indices(path):
        chosen = choose(index.times, sampling)
        rest = chosen[done:]
        decoded = _decode(path, index, np.unique(index.pts[rest]))
        for frames in _pieces(decoded, index.pts[rest], index.times[rest], size):
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
    path = Path(path)
    if os.path.isdir(path):
        return folder_times(path, folder_fps)
    return next(_indices(path)).times


def _indices(path: Path) -> Iterator[_Index]:
    """Ways to know every frame's timestamp, the cheap one first."""
    index = _index_packets(path)
    if index is not None:
        yield index
    yield _index_decoding(path)  # for files whose packets do not tell, or lie


def _pieces(
    decoded: Iterator[tuple[int, Picture]],
    wanted: Ticks,
    times: npt.NDArray[np.float64],
    size: int,
) -> Iterator[Frames]:
    """Pieces of `size` frames, as far as the decoder gets; what is wanted twice is repeated."""
    last: tuple[int, Picture] | None = None
    for begin in range(0, len(wanted), size):
        pictures = []
        for pts in wanted[begin : begin + size].tolist():
            if last is None or last[0] != pts:
                last = next(decoded, None)  # else the same frame once more
            if last is None or last[0] != pts:
                return
            pictures.append(last[1])
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
        yield Frames(stacked, torch.from_numpy(times[begin : begin + size]))


def _stream(path: Path, container: InputContainer) -> VideoStream:
    """The picture track, or a clear refusal."""
    stream = video_stream(container)
    if stream is None:
        raise MediaError(f"{path}: holds no picture, {other_tracks(container)}; give a video file")
    must_decode(container, stream)
    # A data loader's worker has one torch thread, a main process several: decode with as many, at
    # most 4.
    stream.thread_count = min(torch.get_num_threads(), 4)
    stream.thread_type = "AUTO"
    return stream


def _index_packets(path: Path) -> _Index | None:
    """Every frame's timestamp from the packets alone; None where packets do not tell."""
    pts: list[int] = []
    keys: list[int] = []
    with open_media(path) as container:
        stream = _stream(path, container)
        if stream.codec_context.name not in ONE_FRAME_A_PACKET:
            return None
        for packet in container.demux(stream):
            if packet.size == 0:  # flushes the decoder, or repeats a frame
                continue
            if packet.pts is None:
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)
            # Nothing before the first key frame can be decoded; an edit list marks frames that are
            # decoded and never shown.
            if keys and not packet.is_discard:
                pts.append(packet.pts)
        tick = float(stream.time_base or 1)  # s
    if len(set(pts)) < len(pts) or not pts:
        return None
    shown = np.sort(np.asarray(pts, dtype=np.int64))  # packets come in the order of decoding
    return _Index(shown, np.sort(np.asarray(keys, dtype=np.int64)), (shown - shown[0]) * tick)


def _index_decoding(path: Path) -> _Index:
    """Every frame's timestamp by decoding all of them, one at a time: slow, and always right."""
    with open_media(path) as container:
        stream = _stream(path, container)
        pts = [ticks for ticks, _ in _shown(container, stream)]
        tick = float(stream.time_base or 1)  # s
    if not pts:
        raise MediaError(f"{path}: not one frame can be decoded; convert it to H.264")
    shown = np.asarray(pts, dtype=np.int64)
    # One key, the first frame: then nothing is ever jumped over.
    return _Index(shown, shown[:1], (shown - shown[0]) * tick)


def _decode(path: Path, index: _Index, wanted: Ticks) -> Iterator[tuple[int, Picture]]:
    """The wanted frames, `[W]` ticks in order; ends early if one of them never comes."""
    shape: tuple[int | None, ...] = None, None
    # For each wanted frame the last key frame that is not behind it.
    key_of = np.searchsorted(index.keys, wanted, side="right") - 1  # [W]
    with open_media(path) as container:
        stream = _stream(path, container)
        goals = set(wanted.tolist())
        at_key = 0
        shown = _shown(container, stream, goals)
        for goal, key in zip(wanted.tolist(), key_of.tolist(), strict=True):
            if key > at_key:  # jumping skips work; else decoding just goes on
                at_key = key
                container.seek(int(index.keys[at_key]), stream=stream)
                shown = _shown(container, stream, goals)
            ticks, frame = next((pair for pair in shown if pair[0] >= goal), (None, None))
            if frame is None or ticks != goal:
                return
            # Turned as the file says; of the first picture's size, should the stream change it.
            turns = round(frame.rotation / 90) % 4  # quarters, counter-clockwise
            height, width = shape
            if turns % 2:
                height, width = width, height
            upright = np.rot90(frame.to_ndarray(format="rgb24", width=width, height=height), turns)
            shape = upright.shape[:2]
            yield goal, np.ascontiguousarray(upright)  # [H, W, 3]


def _shown(
    container: InputContainer, stream: VideoStream, wanted: Container[int] | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames with their timestamp in ticks.

    With `wanted` timestamps, frames besides these come only where others are built from them.
    """
    # Ticks of a frame, for a stream without timestamps; 25 a second if it has no rate either.
    step = 1 / (stream.average_rate or stream.guessed_rate or 25) / (stream.time_base or 1)
    codec = stream.codec_context
    may_skip = wanted is not None and codec.name in ONE_FRAME_A_PACKET
    count = 0
    for packet in container.demux(stream):
        # Theora and Flash have empty packets that mean "the same again", which PyAV would take for
        # the end. At the end itself a packet has no time either.
        if not packet.size and packet.pts is not None:
            continue
        if may_skip and wanted is not None:
            codec.skip_frame = "NONREF"  # no picture that nothing else is built from
            if packet.pts is None or packet.pts in wanted:
                codec.skip_frame = "DEFAULT"
        for frame in stream.decode(packet):
            ticks = frame.pts
            if ticks is None:
                ticks = round(count * step)
            yield ticks, frame
            count += 1
