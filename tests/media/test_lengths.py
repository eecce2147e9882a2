"""Whole files of AIFF, CAF, AU, W64 and SoX are read, whatever length their writer left.

Cut ones are refused. Files are put together here, byte by byte, as the formats' documents say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.clips import mux, numbered, tone
from helpers.sounds import chord, encoded
from pave.errors import MediaError
from pave.media import read_frames, read_sound
from pave.media.sampling import Uniform

COUNT = 3000  # samples
RATE = 16000
WAVE = (tone(COUNT / RATE, level=0.5)[:COUNT] * 32767).astype(">i2").tobytes()
TEXT = b"made by nobody"


def aiff(
    length: int | None = None,
    form: int | None = None,
    behind: bytes = b"",
    front: bytes = b"",
    kind: bytes = b"AIFF",
) -> bytes:
    # 16 kHz as a number of 80 bits: 2^13 times 1.953125.
    rate = struct.pack(">HQ", 16383 + 13, int(1.953125 * 2**63))
    common = struct.pack(">hIh", 1, COUNT, 16) + rate
    if kind == b"AIFC":
        common += b"NONE\0\0"
    body = kind + front + struct.pack(">4sI", b"COMM", len(common)) + common
    size = len(WAVE) + 8 if length is None else length
    body += struct.pack(">4sIII", b"SSND", size, 0, 0) + WAVE + behind
    return struct.pack(">4sI", b"FORM", len(body) if form is None else form) + body


def aifc(length: int | None = None, form: int | None = None, **more: bytes) -> bytes:
    return aiff(length, form, kind=b"AIFC", **more)


def caf(length: int | None = None, behind: bytes = b"", front: bytes = b"") -> bytes:
    form = struct.pack(">d4sIIIII", RATE, b"lpcm", 0, 2, 1, 1, 16)
    size = len(WAVE) + 4 if length is None else length
    data = b"caff" + struct.pack(">HH", 1, 0) + struct.pack(">4sq", b"desc", len(form)) + form
    return data + front + struct.pack(">4sqI", b"data", size, 0) + WAVE + behind


def au(length: int | None = None, behind: bytes = b"") -> bytes:
    size = len(WAVE) if length is None else length
    return b".snd" + struct.pack(">IIIII", 32, size, 3, RATE, 1) + b"a sound\0" + WAVE + behind


GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def w64(length: int | None = None, whole: int | None = None, behind: bytes = b"") -> bytes:
    little = np.frombuffer(WAVE, ">i2").astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    size = len(little) + 24 if length is None else length
    body = b"wave" + GUID + b"fmt " + GUID + struct.pack("<Q", 40) + form
    body += b"data" + GUID + struct.pack("<Q", size & 2**64 - 1) + little + behind
    total = 24 + len(body) if whole is None else whole
    riff = bytes.fromhex("2e91cf11a5d628db04c10000")
    return b"riff" + riff + struct.pack("<Q", total & 2**64 - 1) + body


def sox(samples: int | None = None, behind: bytes = b"") -> bytes:
    wide = (np.frombuffer(WAVE, ">i2").astype("<i4") << 16).tobytes()
    count = COUNT if samples is None else samples
    return struct.pack("<4sIQdII", b".SoX", 28, count, float(RATE), 1, 0) + wide + behind


MAKERS: dict[str, Callable[..., bytes]] = {
    "a.aiff": aiff,
    "a.aifc": aifc,
    "a.caf": caf,
    "a.au": au,
    "a.w64": w64,
    "a.sox": sox,
}
FULL = {"a.sox": 2**64 - 1, "a.w64": -1, "a.caf": -1}
# Of FFmpeg, sox, GStreamer and libsndfile, into a pipe.
SHORT_ONES = [0, 0x7F000000, 0x7F000008, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF - 24]
PLACEHOLDERS = [
    (name, number)
    for name in MAKERS
    for number in ([0, FULL[name]] if name in FULL else SHORT_ONES)
]


def must(path: Path) -> None:
    """All of the sound, which is the tone, and it alone."""
    sound = read_sound(path, None)
    assert sound is not None
    heard = sound.samples.numpy()[:COUNT]
    assert len(heard) == COUNT
    assert np.abs(heard - np.frombuffer(WAVE, ">i2") / 32768).max() < 1e-4


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("missing", [1, 2, 1000, 5999])
def test_cut_files_are_refused(tmp_path: Path, name: str, missing: int) -> None:
    file = tmp_path / name
    whole = MAKERS[name]()
    file.write_bytes(whole)
    must(file)
    file.write_bytes(whole[:-missing])
    with pytest.raises(MediaError, match=f"truncated: it declares at least {len(whole)} bytes"):
        read_sound(file)


@pytest.mark.parametrize(("name", "number"), PLACEHOLDERS)
def test_lengths_that_nobody_counted(tmp_path: Path, name: str, number: int) -> None:
    """As writers into a pipe leave them; FFmpeg reads what is there, or says that it cannot."""
    file = tmp_path / name
    file.write_bytes(MAKERS[name](number))
    try:
        must(file)
    except MediaError as error:  # FFmpeg's: it has no sound of a length that is 0
        assert "truncated" not in str(error)


@pytest.mark.parametrize("form", [*SHORT_ONES[1:], len(aiff()), len(aiff()) - 8 + 1])
def test_a_false_length_of_the_whole(tmp_path: Path, form: int) -> None:
    """The sound's own counts: some count the head too, or a padding byte that is not there."""
    for name, make in (("a.aiff", aiff), ("a.aifc", aifc)):
        file = tmp_path / name
        file.write_bytes(make(form=form))
        must(file)
        file.write_bytes(make(form=form)[:-10])
        with pytest.raises(MediaError, match="truncated"):
            read_sound(file)


@pytest.mark.parametrize("name", ["a.aiff", "a.aifc", "a.caf"])
def test_chunks_before_and_behind_the_sound(tmp_path: Path, name: str) -> None:
    """Unknown ones too; what is cut behind the sound was never heard."""
    order, form = (">", "4sq") if name == "a.caf" else (">", "4sI")
    odd = struct.pack(order + form, b"abcd", len(TEXT)) + TEXT
    file = tmp_path / name
    whole = MAKERS[name](front=odd, behind=odd * 3)
    for missing in (0, 1, len(odd), 2 * len(odd)):
        file.write_bytes(whole[: len(whole) - missing])
        must(file)
    file.write_bytes(whole[: -3 * len(odd) - 1])
    with pytest.raises(MediaError, match="truncated"):
        read_sound(file)


@pytest.mark.parametrize("name", ["a.au", "a.sox", "a.w64"])
def test_what_is_appended_does_no_harm(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(MAKERS[name](behind=b"\nappended by a script\n"))
    must(file)


def test_a_head_that_is_counted(tmp_path: Path) -> None:
    """Some writers of Sun's format count the head into the sound."""
    file = tmp_path / "a.au"
    file.write_bytes(au(len(au())))
    must(file)


def test_cut_before_the_sound(tmp_path: Path) -> None:
    for name, end in (("a.aiff", 30), ("a.caf", 40)):
        file = tmp_path / name
        file.write_bytes(MAKERS[name]()[:end])
        with pytest.raises(MediaError, match=r"truncated|not a media file"):
            read_sound(file)


def test_packets_listed_behind_the_sound(tmp_path: Path) -> None:
    """Compressed sound in CAF cannot be read without that list."""
    file = encoded(tmp_path / "a.caf", "alac", "mono", chord(1, 16000))
    assert read_sound(file) is not None
    whole = file.read_bytes()
    for missing in (1, 20, len(whole) // 2):
        file.write_bytes(whole[:-missing])
        with pytest.raises(MediaError, match="truncated"):
            read_sound(file)


def test_long_films_have_several_parts(tmp_path: Path) -> None:
    """An AVI of more than a gigabyte; here the second part holds nothing that is shown."""
    film = mux(tmp_path / "a.avi", numbered(5), codec="mpeg4", options={})
    first = film.read_bytes()
    part = b"AVIX" + struct.pack("<4sI4s", b"LIST", 4, b"movi")
    part += struct.pack("<4sI", b"JUNK", 100) + bytes(100)
    whole = first + struct.pack("<4sI", b"RIFF", len(part)) + part
    film.write_bytes(whole)
    assert len(read_frames(film, Uniform(5)).times) == 5
    for missing in (10, len(part) - 4):
        film.write_bytes(whole[:-missing])
        with pytest.raises(MediaError, match=f"declares at least {len(whole)} bytes"):
            read_frames(film, Uniform(5))
    film.write_bytes(first + b"RIFF" + bytes(4) + b"WAVE")  # of another file
    assert len(read_frames(film, Uniform(5)).times) == 5
