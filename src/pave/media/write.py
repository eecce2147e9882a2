"""Write a small H.264 + AAC file: what the embedded world and the tests make their clips with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from pave.errors import MediaError
from pave.files import temporary_beside

AAC_RATES = (
    7350,
    8000,
    11025,
    12000,
    16000,
    22050,
    24000,
    32000,
    44100,
    48000,
    64000,
    88200,
    96000,
)
AAC_BLOCK = 1024  # samples of one AAC packet
LAYOUTS = {1: "mono", 2: "stereo"}


def write_video(
    path: str | Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    fps: float | Fraction,
    sound: npt.NDArray[np.float32] | None = None,
    rate: int = 16000,
    *,
    crf: int = 20,
    keyframe_every: int = 250,
    faststart: bool = False,
) -> Path:
    """Encode frames and sound into one file; the same input gives the same bytes.

    Encoded with one thread and x264's "ultrafast" preset (yuv420p), so a tiny clip costs
    milliseconds. Written under a temporary name and renamed, so that a killed process leaves no
    half file.

    Args:
        path: Where to write; the ending chooses the container (`.mp4`, `.mkv`, `.mov`, ...).
            Missing folders are made.
        frames: `[H, W, 3]` uint8 RGB pictures of one size with even sides, at least one.
        fps: Frames per second.
        sound: `[N]` mono or `[N, C]` float samples in -1..1, or None for a silent film. May be
            longer or shorter than the picture.
        rate: Samples per second, one of AAC's rates.
        crf: x264's quality, 0 (lossless-like) to 51.
        keyframe_every: Largest distance of key frames.
        faststart: Put the MP4 index in front, as files made for the web have it.

    Returns:
        The path written.

    Raises:
        MediaError: If there is no frame, a frame has the wrong form, the rate is none of AAC's, or
            FFmpeg refuses.

    Example:
        >>> grey = np.full((64, 64, 3), 128, np.uint8)
        >>> write_video("grey.mp4", [grey] * 25, fps=25)  # doctest: +SKIP
    """
    path = Path(path)
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise MediaError(f"{path}: no frames to write; give at least one picture")
    wave = None  # [N, C]
    if sound is not None:
        wave = _as_wave(path, sound, rate)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = str(temporary_beside(path, path.suffix))
    try:
        options = {"movflags": "+faststart"} if faststart else {}
        with av.open(temporary, "w", options=options) as container:
            picture_track = _picture_track(
                path, container, first, fps=fps, crf=crf, keyframe_every=keyframe_every
            )
            sound_track = None
            if wave is not None:
                sound_track = _sound_track(container, rate, wave.shape[1])
            pictures = chain([first], pictures)
            _encode(path, container, picture_track, pictures, sound_track=sound_track, wave=wave)
        os.replace(temporary, path)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: cannot be written ({error}); check the file name extension, the folder, "
            "and the settings"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _as_wave(path: Path, sound: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """Check the sound and bring it to `[N, C]` float32."""
    if rate not in AAC_RATES:
        raise MediaError(
            f"{path}: AAC has no {rate} samples per second; use one of "
            f"{', '.join(map(str, AAC_RATES))}"
        )
    wave = np.asarray(sound, dtype=np.float32)
    if wave.ndim == 1:
        wave = wave[:, None]  # [N] -> [N, 1]
    if wave.ndim != 2 or wave.shape[1] not in (1, 2):
        raise MediaError(
            f"{path}: sound must be [N] or [N, 2] samples, got shape {np.shape(sound)}"
        )
    return np.clip(wave, -1.0, 1.0)


def _picture_track(
    path: Path,
    container: OutputContainer,
    first: npt.NDArray[np.uint8],
    *,
    fps: float | Fraction,
    crf: int,
    keyframe_every: int,
) -> VideoStream:
    """Add the H.264 track."""
    _must_be_picture(path, first, np.shape(first))
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise MediaError(
            f"{path}: H.264 needs even sides, got {width} x {height}; crop or pad by one pixel"
        )
    if not 0 < fps < 1000:
        raise MediaError(f"{path}: fps must be above 0 and below 1000, got {fps}")
    options = {"preset": "ultrafast", "crf": str(crf), "threads": "1"}
    track = container.add_stream(
        "libx264", rate=Fraction(fps).limit_denominator(1001), options=options
    )
    track.width, track.height, track.pix_fmt = width, height, "yuv420p"
    track.gop_size = keyframe_every
    return track


def _sound_track(container: OutputContainer, rate: int, channels: int) -> AudioStream:
    """Add the AAC track."""
    # "fast" codes four times as fast as the default search, for the same bit rate.
    track = container.add_stream("aac", rate=rate, options={"threads": "1", "aac_coder": "fast"})
    track.layout = LAYOUTS[channels]
    return track


def _encode(
    path: Path,
    container: OutputContainer,
    picture_track: VideoStream,
    pictures: Iterable[npt.NDArray[np.uint8]],
    *,
    sound_track: AudioStream | None,
    wave: npt.NDArray[np.float32] | None,
) -> None:
    """Encode both tracks side by side: the muxer then holds back but a moment of either."""
    shape: tuple[int, ...] | None = None
    step = 1 / (picture_track.average_rate or Fraction(25))
    blocks: Iterator[av.AudioFrame] = iter(())
    if wave is not None and sound_track is not None:
        blocks = _blocks(wave, sound_track.codec_context.sample_rate)
    block = next(blocks, None)
    for index, picture in enumerate(pictures):
        shape = shape or np.shape(picture)
        _must_be_picture(path, picture, shape)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = index, step
        container.mux(picture_track.encode(frame))
        while sound_track is not None and block is not None and _begins(block) <= index * step:
            container.mux(sound_track.encode(block))
            block = next(blocks, None)
    while sound_track is not None and block is not None:
        container.mux(sound_track.encode(block))
        block = next(blocks, None)
    container.mux(picture_track.encode(None))
    if sound_track is not None:
        container.mux(sound_track.encode(None))


def _blocks(wave: npt.NDArray[np.float32], rate: int) -> Iterator[av.AudioFrame]:
    """Cut a wave into AAC-sized frames with timestamps."""
    layout = LAYOUTS[wave.shape[1]]
    for start in range(0, len(wave), AAC_BLOCK):
        piece = np.ascontiguousarray(wave[start : start + AAC_BLOCK].T)
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


def _begins(block: av.AudioFrame) -> Fraction:
    """Seconds at which a frame of sound starts."""
    return Fraction(block.pts or 0, block.sample_rate)


def _must_be_picture(path: Path, picture: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    """Every frame is `[H, W, 3]` uint8 and of the first one's size."""
    ok = (
        isinstance(picture, np.ndarray)
        and picture.dtype == np.uint8
        and picture.ndim == 3
        and picture.shape[2] == 3
    )
    if not ok:
        got = f"{getattr(picture, 'dtype', type(picture).__name__)} {np.shape(picture)}"
        raise MediaError(f"{path}: frames must be uint8 arrays [H, W, 3], got {got}")
    if picture.shape != shape:
        raise MediaError(
            f"{path}: all frames must have one size, got {picture.shape} after {shape}"
        )
