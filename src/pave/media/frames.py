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
from pave.media.container import open_media
from pave.media.folder import folder_times, read_folder, read_pictures
from pave.media.index import Index, Ticks, indices, picture_track, shown
from pave.media.orientation import Picture, orientation
from pave.media.sampling import Sampling, choose

_OUT_OF_ORDER = "its timestamps are out of order, so frames cannot be chosen; convert it to H.264"


@dataclass(frozen=True)
class Frames:
    """Some frames of a clip.

    Attributes:
        pixels: `[F, 3, H, W]` uint8 RGB.
        times: `[F]` float64, seconds from the clip's first frame.
    """

    pixels: Tensor
    times: Tensor


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
    for index in indices(path):
        chosen = choose(index.times, sampling)  # [F], some perhaps twice
        wanted = np.unique(index.marks[chosen])
        pictures = dict(_decode(path, index, wanted))
        if len(pictures) < len(wanted):
            continue  # the packets lied: try the other index
        stacked = torch.from_numpy(np.stack([pictures[int(mark)] for mark in index.marks[chosen]]))
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
    for index in indices(path):
        chosen = choose(index.times, sampling)
        rest = chosen[done:]
        decoded = _decode(path, index, np.unique(index.marks[rest]))
        for frames in _pieces(decoded, index.marks[rest], index.times[rest], size):
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
    return next(indices(path)).times


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
        for mark in wanted[begin : begin + size].tolist():
            if last is None or last[0] != mark:
                last = next(decoded, None)  # else the same frame once more
            if last is None or last[0] != mark:
                return
            pictures.append(last[1])
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
        yield Frames(stacked, torch.from_numpy(times[begin : begin + size]))


def _decode(path: Path, index: Index, wanted: Ticks) -> Iterator[tuple[int, Picture]]:
    """The wanted frames, `[W]` marks in order; ends early if one of them never comes."""
    shape: tuple[int | None, ...] = None, None
    # For each wanted frame the last key frame that is not behind it.
    key_of = np.searchsorted(index.keys, wanted, side="right") - 1  # [W]
    with open_media(path) as container:
        stream = picture_track(path, container)
        goals: set[int] | None = None
        if not index.counted:
            goals = set(wanted.tolist())
        at_key = 0
        frames = _marked(container, stream, goals)
        for goal, key in zip(wanted.tolist(), key_of.tolist(), strict=True):
            if key > at_key:  # jumping skips work; else decoding just goes on
                at_key = key
                container.seek(int(index.keys[at_key]), stream=stream)
                frames = _marked(container, stream, goals)
            mark, frame = next((pair for pair in frames if pair[0] >= goal), (None, None))
            if frame is None or mark != goal:
                return
            # Turned as the file says; of the first picture's size, should the stream change it.
            turn = orientation(frame)
            height, width = shape
            if turn.transposed:
                height, width = width, height
            # One thread: a converter's threads that live in a frame are missing after a fork, and a
            # data loader's worker that lets go of the frame would wait for them for ever.
            stored = frame.to_ndarray(format="rgb24", width=width, height=height, threads=1)
            upright = turn.apply(stored.astype(np.uint8, copy=False))
            shape = upright.shape[:2]
            yield goal, np.ascontiguousarray(upright)  # [H, W, 3]


def _marked(
    container: InputContainer, stream: VideoStream, goals: set[int] | None
) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames with their marks: ticks, or numbers where there are no goals in ticks.

    Ends where ticks do not increase: then they are not those of display.
    """
    if goals is None:
        yield from enumerate(shown(container, stream))
        return
    last: int | None = None
    for frame in shown(container, stream, goals):
        if frame.pts is None or (last is not None and frame.pts <= last):
            return
        last = frame.pts
        yield last, frame
