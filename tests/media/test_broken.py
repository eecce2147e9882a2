"""Broken input of every kind ends in one `MediaError` with one line, and FFmpeg stays silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.clips import mux, numbered, photo, tone
from pave.errors import MediaError, printable
from pave.media import (
    Rate,
    Uniform,
    frame_rate,
    frame_times,
    probe,
    read_frames,
    read_sound,
    stream_frames,
    write_video,
)

READERS: list[Callable[[Path], object]] = [probe, lambda p: read_frames(p, Uniform(4)), read_sound]


def refused(
    path: Path, message: str, readers: list[Callable[[Path], object]] | None = None
) -> None:
    """Every reader refuses with one line that names the file."""
    for read in readers or READERS:
        with pytest.raises(MediaError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value) and printable(str(path)) in str(caught.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same second of film in every container that declares its length."""
    folder = tmp_path_factory.mktemp("whole")
    files = {
        "mp4": write_video(folder / "a.mp4", numbered(25), 25, tone(1.0)),
        "fast": write_video(folder / "fast.mp4", numbered(25), 25, tone(1.0), faststart=True),
        "mov": write_video(folder / "a.mov", numbered(25), 25, tone(1.0)),
        "mkv": write_video(folder / "a.mkv", numbered(25), 25, tone(1.0)),
        "avi": write_video(folder / "a.avi", numbered(25), 25, tone(1.0)),
        "wav": mux(folder / "a.wav", sounds=[(0.0, tone(1.0))], sound_codec="pcm_s16le"),
    }
    for file in files.values():
        probe(file)
    return files


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["mp4", "fast", "mov", "mkv", "avi", "wav"]),
    share=st.floats(0.0, 1.0, exclude_max=True),
)
def test_truncated_files_are_found(whole: dict[str, Path], kind: str, share: float) -> None:
    """Cut anywhere, down to the last byte: never fewer frames in silence."""
    data = whole[kind].read_bytes()
    cut = whole[kind].with_name(f"cut{whole[kind].suffix}")
    cut.write_bytes(data[: 1 + int((len(data) - 1) * share)])
    refused(cut, "truncated|cannot be opened|no frame|holds no picture")


def test_an_index_without_its_media(whole: dict[str, Path], tmp_path: Path) -> None:
    """Cut between two boxes, where every box is whole."""
    data = whole["fast"].read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.index(b"mdat") - 4])
    refused(cut, "truncated")


@pytest.mark.parametrize("kind", ["mp4", "fast", "mov", "mkv", "avi", "wav"])
def test_the_last_byte_is_missed(whole: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """One byte less than declared."""
    cut = tmp_path / whole[kind].name
    cut.write_bytes(whole[kind].read_bytes()[:-1])
    refused(cut, "truncated")


def test_rubbish_after_the_end_is_harmless(whole: dict[str, Path], tmp_path: Path) -> None:
    """Padding behind the last box makes no file truncated."""
    padded = tmp_path / "padded.mp4"
    padded.write_bytes(whole["mp4"].read_bytes() + b"\x7f" * 1000)
    assert read_frames(padded, Uniform(2)).pixels.shape[0] == 2


@pytest.mark.parametrize(
    "name", ["story.txt", "story.mp4", "story.mkv", "list.m3u8", "list.ffconcat"]
)
def test_text(tmp_path: Path, name: str) -> None:
    """Text under any name; FFmpeg alone would draw some as ANSI art and follow playlists."""
    file = tmp_path / name
    text = {
        "list.m3u8": "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        "list.ffconcat": "ffconcat version 1.0\nfile /etc/hosts\n",
    }
    file.write_text(text.get(name, "Once upon a time there was a film.\n" * 50))
    refused(file, "not a media file|cannot be opened")


def test_missing_empty_and_folders(tmp_path: Path) -> None:
    """The plainest mistakes have the plainest words."""
    refused(tmp_path / "nowhere.mp4", "no such file")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "empty")
    (tmp_path / "sub").mkdir()
    refused(tmp_path / "sub", "no jpg or png", READERS[1:2])
    refused(tmp_path / "sub", "is a folder", READERS[:1])
    with pytest.raises(MediaError, match="no such file"):
        read_frames("https://example.org/film.mp4", Uniform(1))


def test_sound_file_where_a_film_is_needed(tmp_path: Path) -> None:
    """It says what is missing."""
    file = mux(tmp_path / "song.m4a", sounds=[(0.0, tone(0.5))])
    refused(file, "only sound", READERS[1:2])


def patched(file: Path, old: bytes, new: bytes) -> Path:
    """A copy in which the name of a codec is one that nobody knows."""
    data = file.read_bytes()
    at = data.rindex(old)
    copy = file.with_name(f"odd{file.suffix}")
    copy.write_bytes(data[:at] + new + data[at + len(old) :])
    return copy


@pytest.mark.parametrize(
    ("kind", "codec", "odd"),
    [("mp4", b"avc1", b"XXXX"), ("mkv", b"V_MPEG4/ISO/AVC", b"V_XXXXX/XXX/XXX")],
)
def test_a_picture_that_nothing_decodes(
    whole: dict[str, Path], kind: str, codec: bytes, odd: bytes
) -> None:
    """FFmpeg opens such a file without complaint; its sound can still be heard."""
    file = patched(whole[kind], codec, odd)
    pictures: list[Callable[[Path], object]] = [
        frame_times,
        lambda p: list(stream_frames(p, Rate(1.0), 2)),
    ]
    refused(
        file, r"codec of its picture \(track 0\) is unknown.*convert it", [*READERS[:2], *pictures]
    )
    sound = read_sound(file)
    assert sound is not None and len(sound.samples) > 15000


def test_a_sound_that_nothing_decodes(whole: dict[str, Path]) -> None:
    """The pictures of such a file can still be seen, and their rate is known."""
    file = patched(whole["mkv"], b"A_AAC", b"A_XXX")
    refused(file, r"codec of its sound \(track 1\) is unknown.*convert it", [probe, read_sound])
    assert len(read_frames(file, Uniform(2)).times) == 2 and frame_rate(file) == 25.0


def test_subtitles_alone(tmp_path: Path) -> None:
    """It says what the file does hold; a silent clip is legal, one of nothing at all is not."""
    file = tmp_path / "film.srt"
    file.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    refused(file, "no picture track, only subtitles", READERS[1:2])
    refused(file, "neither video nor sound, only subtitles", READERS[2:])
    bare = mux(tmp_path / "bare.mkv", sounds=[(0.0, tone(0.5))])
    bare.write_bytes(
        bare.read_bytes().replace(b"\x16\x54\xae\x6b", b"\x16\x54\xae\x6c")
    )  # hides the list of tracks
    refused(bare, "nor any other track", READERS[1:])


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "a\0b.mp4"])
def test_names_that_no_file_can_have(name: str) -> None:
    """A question given in the place of the video, for example."""
    refused(Path(name), "no such file")


@pytest.mark.parametrize("content", ["text", "zip", "npz", "objects", "negative", "cut", "flat"])
def test_a_folder_with_a_bad_stack(tmp_path: Path, content: str) -> None:
    """Whatever stands in the place of the array: one line, without advice to run code in it."""
    file, frames = tmp_path / "stacked_images.npy", np.zeros((3, 4, 4, 3), np.uint8)
    np.save(
        file,
        np.array([{}], dtype=object)
        if content == "objects"
        else frames[:, :0]
        if content == "flat"
        else frames,
    )
    data = file.read_bytes()
    if content == "npz":
        np.savez(tmp_path / "a.npz", frames=frames)
        data = (tmp_path / "a.npz").read_bytes()
    changed = {
        "text": b"no frames at all" * 9,
        "zip": b"PK\x03\x04" + bytes(40),
        "negative": data.replace(b"(3, 4, 4, 3)", b"(3, 4, 4,-3)"),
        "cut": data[:-1],
    }
    file.write_bytes(changed.get(content, data))
    with pytest.raises(
        MediaError, match="stacked_images.npy: (cannot be read|must hold)"
    ) as caught:
        read_frames(tmp_path, Uniform(2))
    assert "\n" not in str(caught.value) and "pickle" not in str(caught.value)


def test_digits_that_are_no_numbers(tmp_path: Path) -> None:
    """A superscript in a picture's name does not keep the folder from being sorted."""
    for name in ("\u00b210.png", "\u00b29.png"):
        photo(tmp_path / name, numbered(1)[0])
    assert len(read_frames(tmp_path, Uniform(2)).times) == 2


def test_a_damaged_picture_in_a_folder(tmp_path: Path) -> None:
    """The message names the picture, not the folder."""
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"rubbish" * 20)
    with pytest.raises(MediaError, match=r"0\.png"):
        read_frames(tmp_path, Uniform(1))


def test_ffmpeg_stays_silent(
    whole: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing reaches the terminal, not even from damaged samples."""
    data = bytearray(whole["fast"].read_bytes())
    middle = data.index(b"mdat") + 600
    data[middle : middle + 4000] = b"\xff" * min(4000, len(data) - middle)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    for read in READERS:
        try:
            read(damaged)
        except MediaError as error:
            assert "\n" not in str(error)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""
