"""Odd sound files by hand: layouts that no writer here makes, packets at any time, any rate."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]


def chord(channels: int, count: int = 8000, rate: int = 16000) -> Wave:
    """`[channels, count]`: channel i is a sine of amplitude 0.4 (i + 1) / channels."""
    sine = np.sin(2 * np.pi * 440 * np.arange(count) / rate)
    levels = 0.4 * (1 + np.arange(channels)) / channels
    return (levels[:, None] * sine).astype(np.float32)


def packed16(wave: Wave) -> bytes:
    """Samples of `[channels, n]` as 16-bit PCM, channel by channel."""
    return (np.atleast_2d(wave).T * 32767).astype("<i2").tobytes()


def encoded(
    path: Path, codec: str, layout: str, wave: Wave, rate: int = 16000, fmt: str | None = None
) -> Path:
    """A file of one sound track in a named layout."""
    with av.open(str(path), "w", format=fmt) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, wave.shape[1], 1024):
            piece = np.ascontiguousarray(wave[:, start : start + 1024].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def caf(path: Path, labels: Sequence[int], wave: Wave, rate: int = 16000) -> Path:
    """A Core Audio file that labels its channels one by one, in any order."""
    count = len(labels)
    form = struct.pack(">d4sIIIII", rate, b"lpcm", 2, 2 * count, 1, count, 16)
    names = [struct.pack(">IIfff", label, 0, 0, 0, 0) for label in labels]
    layout = struct.pack(">III", 0, 0, count) + b"".join(names)
    chunks = [(b"desc", form), (b"chan", layout), (b"data", b"\0\0\0\0" + packed16(wave))]
    body = [name + struct.pack(">q", len(data)) + data for name, data in chunks]
    path.write_bytes(b"caff" + struct.pack(">HH", 1, 0) + b"".join(body))
    return path


def wav(path: Path, data: bytes, rate: int, channels: int = 1, mask: int | None = None) -> Path:
    """A 16-bit WAV of any rate; with a mask of speakers where one is given."""
    kind = 1 if mask is None else 0xFFFE
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * 2 & 0xFFFFFFFF, 2 * channels, 16)
    if mask is not None:
        form += struct.pack("<HHI", 22, 16, mask)
        form += bytes.fromhex("0100000000001000800000aa00389b71")  # PCM
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def placed(path: Path, blocks: Sequence[tuple[float, Wave]], rate: int = 16000) -> Path:
    """PCM packets at any seconds, as a recorder with a clock of its own writes them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        stream.time_base = Fraction(1, 1000)
        for begin, wave in blocks:
            packet = av.Packet(packed16(wave))
            packet.stream = stream
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = round(begin * 1000)
            packet.duration = round(len(wave) * 1000 / rate)
            container.mux(packet)
    return path


def two_tracks(path: Path, levels: Sequence[float], default: int | None) -> Path:
    """A film's sound in several languages, told apart by their level; one marked as default."""
    from av.stream import Disposition

    count = 8000
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in levels]
        for index, stream in enumerate(streams):
            stream.disposition = Disposition.default if index == default else Disposition(0)
        for stream, level in zip(streams, levels, strict=True):
            wave = (level * chord(1, count) / 0.4 * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(stream.encode(frame))
    return path


class Pipe:
    """Takes what is written and cannot seek, as a pipe does."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> int:
        """Keep it."""
        self.data += data
        return len(data)
