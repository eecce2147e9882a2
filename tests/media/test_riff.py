"""Whole WAV and AVI files are read, whatever length their writer left; cut ones are not."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from helpers.clips import mux, numbered, tone
from helpers.sounds import Pipe, chord, encoded
from pave.errors import MediaError
from pave.media import Sound, probe, read_frames, read_sound
from pave.media.sampling import Uniform

COUNT = 3000  # samples
# What writers leave who cannot seek: FFmpeg, sox and espeak, GStreamer, ALSA, old 2 GiB and 4 GiB.
PLACEHOLDERS = [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF7]


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    """A chunk, perhaps with a false length."""
    return name + struct.pack("<I", len(body) if length is None else length) + body


def wav(
    path: Path,
    riff: int | None = None,
    data: int | None = None,
    *,
    name: bytes = b"RIFF",
    front: bytes = b"",
    behind: bytes = b"",
    samples: int = COUNT,
) -> Path:
    """A WAV of 16 kHz mono by hand; lengths that are None are the right ones."""
    sound = (tone(samples / 16000, level=0.5) * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    body = b"WAVE" + front + chunk(b"fmt ", form)
    body += chunk(b"data", sound, data) + behind
    path.write_bytes(chunk(name, body, riff))
    return path


def must(path: Path) -> Sound:
    """All of its sound, which is the tone."""
    sound = read_sound(path, None)
    assert sound is not None
    assert np.abs(sound.samples.numpy() - tone(len(sound.samples) / 16000)).max() < 1e-3
    return sound


@pytest.mark.parametrize("data", [None, *PLACEHOLDERS])
@pytest.mark.parametrize("riff", [None, *PLACEHOLDERS, 0x7FFFF024, 0x80000024, 0x23])
def test_wavs_from_a_pipe(tmp_path: Path, riff: int | None, data: int | None) -> None:
    """Every pair of a placeholder or the truth: all samples are read, and counted by `probe`."""
    file = wav(tmp_path / "pipe.wav", riff, data)
    assert len(must(file).samples) == COUNT
    assert probe(file).duration == pytest.approx(COUNT / 16000, abs=1e-3)


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
@pytest.mark.parametrize("uncounted", [None, 0, 2**63 - 1])
def test_lengths_of_64_bits(tmp_path: Path, name: bytes, uncounted: int | None) -> None:
    """Written by those who expect more than 4 GiB; into a pipe they leave those empty, too."""
    whole, sound = 28 + 8 + 16 + 36 + 2 * COUNT - 8, 2 * COUNT
    counted = uncounted is None
    if uncounted is not None:
        whole = sound = uncounted
    front = chunk(b"ds64", struct.pack("<QQQI", whole, sound, COUNT, 0))
    file = wav(tmp_path / "a.wav", 0xFFFFFFFF, 0xFFFFFFFF, name=name, front=front)
    assert len(must(file).samples) == COUNT
    if counted:
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(MediaError, match="truncated"):
            read_sound(file)


def test_as_ffmpeg_writes_into_a_pipe(tmp_path: Path) -> None:
    """Its own muxer, into an object that cannot seek."""
    for options in ({}, {"rf64": "always"}):
        pipe = Pipe()
        with av.open(pipe, "w", format="wav", options=options) as container:
            stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
            sound = (tone(COUNT / 16000)[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        file = tmp_path / "pipe.wav"
        file.write_bytes(pipe.data)
        assert len(must(file).samples) == COUNT


@pytest.mark.parametrize("missing", [1, 2, 1000, 5000])
def test_cut_wavs_are_named(tmp_path: Path, missing: int) -> None:
    """By the length of the sound, whatever that of the file is."""
    for riff in (None, 0, 0xFFFFFFFF):
        file = wav(tmp_path / "cut.wav", riff)
        file.write_bytes(file.read_bytes()[:-missing])
        with pytest.raises(MediaError, match="truncated"):
            read_sound(file)


@pytest.mark.parametrize("more", [1, 8, 9])
def test_writers_who_count_too_much(tmp_path: Path, more: int) -> None:
    """The head counted in, or a padding byte that is not there: nothing is missing."""
    true = 4 + 24 + 8 + 2 * COUNT
    assert len(must(wav(tmp_path / "a.wav", true + more)).samples) == COUNT
    clip = mux(tmp_path / "a.avi", numbered(5), codec="mpeg4", options={})
    data = bytearray(clip.read_bytes())
    data[4:8] = struct.pack("<I", len(data) - 8 + more)
    clip.write_bytes(data)
    assert len(read_frames(clip, Uniform(2)).times) == 2
    clip.write_bytes(data[:-3])
    with pytest.raises(MediaError, match="truncated"):
        read_frames(clip, Uniform(2))


def test_many_empty_chunks_are_no_work(tmp_path: Path) -> None:
    """A header of a million of them is given up on, not walked."""
    file = tmp_path / "a.wav"
    file.write_bytes(chunk(b"RIFF", b"WAVE" + chunk(b"junk", b"") * 1_000_000))
    with pytest.raises(MediaError):
        read_sound(file)


@pytest.mark.parametrize("fact", [0, 0x7FFFF000 // 4, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("seconds", [1, 90])
def test_a_count_of_samples_that_nobody_counted(tmp_path: Path, fact: int, seconds: int) -> None:
    """A WAV of floats has one more length, in samples; sox leaves a placeholder there, too."""
    file = encoded(tmp_path / "a.wav", "pcm_f32le", "mono", chord(1, seconds * 16000))
    data = bytearray(file.read_bytes())
    at = data.index(b"fact") + 8
    data[at : at + 4] = struct.pack("<I", fact)
    for place in (4, data.index(b"data") + 4):
        data[place : place + 4] = b"\xff" * 4
    file.write_bytes(data)
    sound = read_sound(file)
    assert sound is not None and len(sound.samples) == seconds * 16000
    assert probe(file).duration == pytest.approx(seconds)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF])
def test_the_same_in_sun_s_format(tmp_path: Path, size: int) -> None:
    file = encoded(tmp_path / "a.au", "pcm_s16be", "mono", chord(1, 16000))
    data = bytearray(file.read_bytes())
    data[8:12] = struct.pack(">I", size)
    file.write_bytes(data)
    sound = read_sound(file)
    assert sound is not None and len(sound.samples) == 16000
    assert probe(file).duration == pytest.approx(1)
