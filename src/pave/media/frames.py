"""`read_frames` and `stream_frames`: the chosen frames of a video or of a folder of pictures, with their real timestamps.

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
from pave.media.container import must_decode, open_media, other_tracks, packets, video_stream
from pave.media.folder import folder_times, read_folder, read_pictures
from pave.media.sampling import Sampling, choose

Picture = npt.NDArray[np.uint8]
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
    """Timestamps of all frames in display order and of the key frames, in ticks of `tick` seconds."""

    pts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    tick: float

    def times(self) -> npt.NDArray[np.float64]:
        """Seconds from the first frame."""
        return np.asarray((self.pts - self.pts[0]) * self.tick, dtype=np.float64)


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
        times = index.times()
        chosen = choose(times, sampling)
        wanted = np.unique(index.pts[chosen])
        pictures = dict(_decode(path, index, wanted))
        if len(pictures) == len(wanted):
            stacked = torch.from_numpy(np.stack([pictures[int(pts)] for pts in index.pts[chosen]]))
            return Frames(stacked.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(times[chosen]))
    raise MediaError(f"{path}: {_OUT_OF_ORDER}")


def stream_frames(
    path: str | Path, sampling: Sampling, size: int, *, folder_fps: float = 1.0
) -> Iterator[Frames]:
    """As `read_frames`, a few frames at a time: however long the video, only one piece of it is in memory.

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
    path, done = Path(path), 0
    if os.path.isdir(path):
        times = folder_times(path, folder_fps)
        for begin in range(0, len(chosen := choose(times, sampling)), size):
            part = chosen[begin : begin + size]
            yield Frames(read_pictures(path, part), torch.from_numpy(times[part]))
        return
    for index in _indices(path):
        times = index.times()
        chosen = choose(times, sampling)[done:]
        for frames in _pieces(
            _decode(path, index, np.unique(index.pts[chosen])),
            index.pts[chosen],
            times[chosen],
            size,
        ):
            done += len(frames.times)
            yield frames
        if done == len(choose(times, sampling)):
            return
    raise MediaError(f"{path}: {_OUT_OF_ORDER}")


def frame_times(path: str | Path, *, folder_fps: float = 1.0) -> npt.NDArray[np.float64]:
    """The times of all frames of a video or folder, in seconds from the first, without decoding where that is possible.

    Raises:
        MediaError: If the path is missing or no video.
    """
    path = Path(path)
    if os.path.isdir(path):
        return folder_times(path, folder_fps)
    return next(_indices(path)).times()


def _indices(path: Path) -> Iterator[_Index]:
    """Ways to know every frame's timestamp, the cheap one first; the second is for files whose packets lie."""
    index = _index_packets(path)
    if index is not None:
        yield index
    yield _index_decoding(path)


def _pieces(
    decoded: Iterator[tuple[int, Picture]],
    wanted: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
    size: int,
) -> Iterator[Frames]:
    """Pieces of `size` frames, as far as the decoder gets; frames that are wanted twice are repeated."""
    last: tuple[int, Picture] | None = None
    for begin in range(0, len(wanted), size):
        pictures = []
        for pts in wanted[begin : begin + size].tolist():
            if last is None or last[0] != pts:
                last = next(decoded, None)
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
    """Every frame's timestamp from the packets alone; None where packets do not tell (then one must decode)."""
    pts: list[int] = []
    keys: list[int] = []
    with open_media(path) as container:
        stream = _stream(path, container)
        if stream.codec_context.name not in ONE_FRAME_A_PACKET:
            return None
        for packet in packets(container, stream):
            if packet.size == 0:
                continue
            if packet.pts is None:
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)
            # Nothing before the first key frame can be decoded; an edit list marks frames that are
            # decoded and never shown.
            if keys and not packet.is_discard:
                pts.append(packet.pts)
        tick = float(stream.time_base or 1)
    if len(set(pts)) < len(pts) or not pts:
        return None
    return _Index(
        np.sort(np.asarray(pts, dtype=np.int64)), np.sort(np.asarray(keys, dtype=np.int64)), tick
    )


def _index_decoding(path: Path) -> _Index:
    """Every frame's timestamp by decoding all of them, one at a time: slow, and right for any file that decodes."""
    with open_media(path) as container:
        stream = _stream(path, container)
        pts = [ticks for ticks, _ in _shown(container, stream)]
        tick = float(stream.time_base or 1)
    if not pts:
        raise MediaError(f"{path}: not one frame can be decoded; convert it to H.264")
    return _Index(np.asarray(pts, dtype=np.int64), np.asarray(pts[:1], dtype=np.int64), tick)


def _decode(
    path: Path, index: _Index, wanted: npt.NDArray[np.int64]
) -> Iterator[tuple[int, Picture]]:
    """Decode front to back, jumping to a later key frame where that skips work; ends early if a wanted frame never comes."""
    shape: tuple[int, ...] | None = None
    key_of = np.searchsorted(index.keys, wanted, side="right") - 1
    with open_media(path) as container:
        stream = _stream(path, container)
        goals = set(wanted.tolist())
        at_key, shown = 0, _shown(container, stream, goals)
        for goal, key in zip(wanted.tolist(), key_of.tolist(), strict=True):
            if key > at_key:
                at_key = key
                container.seek(int(index.keys[at_key]), stream=stream)
                shown = _shown(container, stream, goals)
            ticks, frame = next((pair for pair in shown if pair[0] >= goal), (None, None))
            if frame is None or ticks != goal:
                return
            picture = _pixels(frame, shape)
            shape = shape or picture.shape[:2]
            yield goal, picture


def _shown(
    container: InputContainer, stream: VideoStream, wanted: Container[int] | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames with their timestamp in ticks; a stream without timestamps is counted at its average rate.

    With `wanted` timestamps, frames besides these come only where others are built from them.
    """
    step = 1 / (stream.average_rate or stream.guessed_rate or 25) / (stream.time_base or 1)
    count = 0
    for packet in packets(container, stream):
        if wanted is not None and stream.codec_context.name in ONE_FRAME_A_PACKET:
            stream.codec_context.skip_frame = (
                "DEFAULT" if packet.pts is None or packet.pts in wanted else "NONREF"
            )
        for frame in stream.decode(packet):
            yield (round(count * step) if frame.pts is None else frame.pts), frame
            count += 1


def _pixels(frame: VideoFrame, shape: tuple[int, ...] | None) -> npt.NDArray[np.uint8]:
    """`[H, W, 3]` RGB, turned as the file says; later frames are scaled to the first one's size should a stream change it."""
    turns = round(frame.rotation / 90) % 4
    height, width = shape if shape is not None else (None, None)
    if turns % 2:
        height, width = width, height
    picture = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.ascontiguousarray(np.rot90(picture, turns))
