"""Tiny real media: frames that carry their number, tones, odd files that cameras make."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from torch import Tensor

Picture = npt.NDArray[np.uint8]
Wave = npt.NDArray[np.float32]
BITS, BAR = 10, 6


def numbered(count: int, start: int = 0, height: int = 64) -> list[Picture]:
    """Frames 64 wide whose bars spell their number in binary (survives any compression)."""
    frames = []
    for number in range(start, start + count):
        picture = np.full((height, 64, 3), 128, np.uint8)
        for bit in range(BITS):
            picture[:, bit * BAR : (bit + 1) * BAR] = 255 if number >> bit & 1 else 0
        frames.append(picture)
    return frames


def number_of(pixels: Tensor) -> int:
    """The number of a decoded `[3, H, 64]` frame."""
    centres = pixels.float().mean((0, 1))[BAR // 2 : BITS * BAR : BAR]
    return sum(int(level > 128) << bit for bit, level in enumerate(centres))


def numbers(pixels: Tensor) -> list[int]:
    """The numbers of `[F, 3, H, 64]` frames."""
    return [number_of(frame) for frame in pixels]


def tone(seconds: float, rate: int = 16000, hertz: float = 440.0, level: float = 0.5) -> Wave:
    """A sine wave."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def mux(
    path: Path,
    frames: Sequence[Picture] = (),
    ticks: Sequence[int] | None = None,
    sounds: Iterable[tuple[float, Wave]] = (),
    rate: int = 16000,
    codec: str = "libx264",
    sound_codec: str = "aac",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A file with any frame times (milliseconds) and pieces of sound (seconds, samples)."""
    pieces = [(start, np.atleast_2d(wave)) for start, wave in sounds]
    with av.open(str(path), "w", options=container_options or {}) as container:
        if len(frames):
            picture = container.add_stream(
                codec, rate=25, options=options or {"preset": "ultrafast", "threads": "1"}
            )
            picture.height, picture.width = frames[0].shape[:2]
            picture.pix_fmt, picture.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        if pieces:
            sound = container.add_stream(sound_codec, rate=rate)
            sound.layout = "mono" if len(pieces[0][1]) == 1 else "stereo"
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (
                (40 * index if ticks is None else ticks[index]),
                Fraction(1, 1000),
            )
            container.mux(picture.encode(frame))
        if len(frames):
            container.mux(picture.encode(None))
        for start, wave in pieces:
            _encode_sound(container, sound, round(start * rate), wave, rate)
        if pieces:
            container.mux(sound.encode(None))
    return path


def photo(path: Path, pixels: Picture) -> Path:
    """One png or jpg file."""
    codec, pix_fmt = ("png", "rgb24") if path.suffix == ".png" else ("mjpeg", "yuvj420p")
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt, context.time_base = pix_fmt, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    path.write_bytes(
        b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
    )
    return path


def _encode_sound(
    container: av.container.OutputContainer,
    stream: av.audio.AudioStream,
    begin: int,
    wave: Wave,
    rate: int,
) -> None:
    planar = stream.codec_context.format.is_planar
    block = stream.codec_context.frame_size or 1024
    for offset in range(0, wave.shape[1], block):
        piece = wave[:, offset : offset + block]
        if stream.codec_context.format.name.startswith("s16"):
            piece = (piece * 32767).astype(np.int16)
        data = np.ascontiguousarray(piece if planar else piece.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(
            data, format=stream.codec_context.format.name, layout=stream.layout.name
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, begin + offset, Fraction(1, rate)
        container.mux(stream.encode(frame))


def rotate(path: Path, out: Path, clockwise: int) -> Path:
    """A copy of an MP4 that tells players to turn the picture, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise]
    data[matrix : matrix + 36] = struct.pack(
        ">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )
    out.write_bytes(data)
    return out
