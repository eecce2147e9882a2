"""A line says that a file may be cut, where nothing proves it; of a whole one nothing is said.

Files are FFmpeg's own; where they are cut is chosen here.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from helpers.clips import mux, numbered, tone
from helpers.sounds import chord, encoded
from pave.errors import MediaError
from pave.media import read_frames, read_sound, shorter
from pave.media.sampling import Uniform

SECONDS = 4
KINDS = {
    "a.flac": "flac",
    "a.opus": "libopus",
    "a.ogg": "flac",
    "a.mp3": "libmp3lame",
    "a.tta": "tta",
    "a.aac": "aac",
    "a.wav": "pcm_s16le",
    "a.mka": "flac",
    "a.m4a": "aac",
    "a.aiff": "pcm_s16be",
    "a.wv": "wavpack",
}
SAYS_SECONDS = ["a.flac", "a.mp3", "a.tta"]


@pytest.fixture(autouse=True)
def anew() -> None:
    """What was said of a file of that name before."""
    shorter._tell_of_seconds.cache_clear()
    shorter._tell_of_end.cache_clear()


def made(folder: Path, name: str) -> Path:
    rate = 48000 if KINDS[name] == "libopus" else 16000
    return encoded(folder / name, KINDS[name], "mono", chord(1, SECONDS * rate, rate), rate)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_said_of_a_whole_file(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = made(tmp_path, name)
    with caplog.at_level(logging.WARNING):
        assert read_sound(file) is not None
    assert "cut off" not in caplog.text


@pytest.mark.parametrize("name", SAYS_SECONDS)
def test_seconds_in_the_header(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Half of the file: it is said once, whatever the decoder makes of the last frame."""
    file = made(tmp_path, name)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            try:
                read_sound(file)
            except MediaError as error:
                assert "cut off" in str(error)
    said = [line for line in caplog.messages if "may be cut off" in line]
    assert len(said) == 1 and f"declares {SECONDS}.0 seconds, but only" in said[0]


def test_a_flac_that_ends_between_two_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No decoder complains; nor is it refused, as tools that copy a part leave the old number."""
    file = made(tmp_path, "a.flac")
    whole = file.read_bytes()
    # The sync code and the header's first bytes, as RFC 9639 has them; the last frame goes.
    first = whole.index(b"\xff\xf8")
    last = whole.rindex(whole[first : first + 3])
    file.write_bytes(whole[:last])
    with caplog.at_level(logging.WARNING):
        assert read_sound(file) is not None
    shortened = len(whole[:last]) / len(whole)
    assert ("may be cut off" in caplog.text) == (shortened < 0.85)
    half = whole.index(whole[first : first + 3], len(whole) // 2)
    file.write_bytes(whole[:half])
    with caplog.at_level(logging.WARNING):
        assert read_sound(file) is not None
    assert "may be cut off" in caplog.text


@pytest.mark.parametrize("name", ["a.opus", "a.ogg"])
def test_the_mark_of_the_end(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A byte less breaks the last page; without its page nothing else would show it."""
    file = made(tmp_path, name)
    whole = file.read_bytes()
    for end in (len(whole) - 1, whole.rindex(b"OggS")):
        shorter._tell_of_end.cache_clear()
        caplog.clear()
        file.write_bytes(whole[:end])
        with caplog.at_level(logging.WARNING):
            try:
                assert read_sound(file) is not None
            except MediaError:  # nothing but its head is left
                continue
        assert caplog.text.count("the mark of its end is missing; it may be cut off") == 1
    file.write_bytes(whole + b"\nappended by a script\n")
    assert shorter.ends_marked(file)


def test_films(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Flash notes seconds in front; a film whose sound is shorter is whole."""
    sounds = [(0.0, tone(1.0))]
    file = mux(tmp_path / "a.flv", numbered(75), codec="flv", sounds=sounds, options={})
    with caplog.at_level(logging.WARNING):
        read_frames(file, Uniform(4))
        read_sound(file)
    assert "cut off" not in caplog.text
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        try:
            read_frames(file, Uniform(4))
        except MediaError as error:
            assert "cut off" in str(error)
    assert "may be cut off" in caplog.text


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mov", "a.avi", "a.ts", "a.flv", "a.mp4"])
def test_late_tracks_and_short_sound(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    codec = {".webm": "libvpx-vp9", ".flv": "flv"}.get(name[1:], "mpeg4")
    sounds = [(2.0, tone(0.5))]
    try:
        file = mux(tmp_path / name, numbered(75), codec=codec, sounds=sounds, options={})
    except ValueError:
        pytest.skip("this container does not take the sound's codec")
    with caplog.at_level(logging.WARNING):
        read_frames(file, Uniform(4))
        read_sound(file)
    assert "cut off" not in caplog.text
