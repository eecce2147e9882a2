"""A media file is that file: no playlist, no sequence, no pipe, and no more pixels than allowed."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.clips import mux, numbered, numbers, tone
from pave.errors import ConfigError, MediaError
from pave.media import (
    At,
    Rate,
    Uniform,
    frame_rate,
    frame_times,
    frames,
    list_pictures,
    probe,
    read_depth,
    read_frames,
    read_picture,
    read_sound,
    stream_frames,
    write_video,
)

READERS: list[Callable[[Path], object]] = [
    probe,
    frame_rate,
    frame_times,
    read_sound,
    read_picture,
    read_depth,
    lambda path: read_frames(path, Uniform(2)),
    lambda path: list(stream_frames(path, Uniform(2), 1)),
]


def refused(path: Path, message: str, readers: list[Callable[[Path], object]] = READERS) -> None:
    for read in readers:
        with pytest.raises(MediaError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that a playlist may name."""
    place = tmp_path_factory.mktemp("closed")
    write_video(place / "a.mp4", numbered(10), 25, tone(0.4))
    mux(place / "a.ts", numbered(10), sounds=[(0.0, tone(0.4))])
    mux(place / "a.webm", numbered(10), codec="libvpx")
    return place


LISTS = {
    "concat": "ffconcat version 1.0\nfile {name}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n",
    "dash": """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{name}</BaseURL>
</Representation></AdaptationSet></Period></MPD>""",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "rtsp": "RTSPtext\nrtsp://127.0.0.1:9/{name}\n",
    "metadata": ";FFMETADATA1\ntitle=x\n",
    "sbagen": "#!/usr/bin/env sbagen\n-SE\nts1: pink/40 100+1/50\nNOW ts1\n",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{name}"/></svg>',
    "asx": '<asx version="3.0"><entry><ref href="{name}"/></entry></asx>',
    "cue": 'FILE "{name}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "avisynth": 'AviSource("{name}")\n',
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("suffix", ["txt", "mp4", "own", "png"])
def test_files_that_lead_to_other_files(folder: Path, kind: str, suffix: str) -> None:
    """Under their own names and under those of clips and pictures."""
    own = {"concat": "ffconcat", "hls": "m3u8", "dash": "mpd", "sbagen": "sbg", "avisynth": "avs"}
    if suffix == "own":
        suffix = own.get(kind, kind)
    for name in ("a.mp4", "a.ts", "a.webm"):
        file = folder / f"list.{suffix}"
        file.write_text(LISTS[kind].format(name=name))
        readers = READERS
        if suffix == "png":  # a picture by its name, until it is decoded
            readers = READERS[4:]
        message = r"list\.\w+: (not a media file|cannot be|is in a format|holds no|no frame)"
        refused(file, message, readers)


@pytest.mark.parametrize(
    "name", ["-i.mp4", "a%03d.mp4", "a*.mp4", "a[0-9]?.mp4", "{a,b}.mp4", "pipe:0.mp4", "a#b|c.mp4"]
)
def test_names_are_only_names(
    folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes((folder / "a.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)  # so that the name itself begins the path
    assert numbers(read_frames(name, Uniform(2)).pixels) == [0, 9]
    assert read_sound(name) is not None and probe(name).video is not None


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize(
    "name", ["shot%d", "shot%03d", "%", "%%", "shot*", "shot[0]", "shot?", "-"]
)
def test_pictures_named_like_a_pattern(
    tmp_path: Path, name: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never those beside it that the pattern would mean."""
    monkeypatch.chdir(tmp_path)
    for other in ("shot0", "shot1", "shot000", "0", "shota"):
        Image.new("RGB", (16, 16), (255, 0, 0)).save(f"{other}.{suffix}")
    file = Path(f"{name}.{suffix}")
    Image.new("RGB", (16, 16), (0, 0, 255)).save(file)
    red, green, blue = read_picture(file)[:, 8, 8].tolist()
    assert red < 5 and green < 5 and blue > 250
    assert file in list_pictures(Path())


def test_only_regular_files(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "is a pipe, a media file is needed here")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    refused(tmp_path / "zero.mp4", "is a device")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    refused(tmp_path / "loop.mp4", "is a link to itself")
    (tmp_path / "link.mp4").symlink_to(folder / "a.mp4")
    assert len(frame_times(tmp_path / "link.mp4")) == 10


@pytest.mark.parametrize("name", ["0.png", "stacked_images.npy"])
def test_pipes_among_frames(tmp_path: Path, name: str) -> None:
    """They are no pictures, and nobody waits for them."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(MediaError):
        read_frames(tmp_path, Uniform(1))


def png_header(path: Path, width: int, height: int) -> Path:
    """A grey png that says how large it is and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def test_enormous_pictures(tmp_path: Path) -> None:
    """By default 2^27 pixels, more than a photo of 108 megapixels has."""
    file = png_header(tmp_path / "big.png", 16_000, 16_000)
    with pytest.raises(MediaError, match=r"16,000 x 16,000 pixels.*134,217,728.*PAVE_MAX_PIXELS"):
        read_picture(file)
    with pytest.raises(MediaError, match=r"big\.png: pictures of 16,000 x 16,000"):
        read_frames(tmp_path, Uniform(4))


def test_the_limit_of_pixels_is_a_setting(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "0.png")
    stack = tmp_path / "stack"
    stack.mkdir()
    np.save(stack / "stacked_images.npy", np.zeros((2, 64, 64, 3), np.uint8))
    places = [folder / "a.mp4", folder / "a.webm", tmp_path, stack]
    monkeypatch.setenv("PAVE_MAX_PIXELS", str(64 * 64))
    for place in places:
        read_frames(place, Uniform(1))
    monkeypatch.setenv("PAVE_MAX_PIXELS", str(64 * 64 - 1))
    for place in places:
        with pytest.raises(MediaError, match="pictures of 64 x 64 pixels"):
            read_frames(place, Uniform(1))
    assert read_sound(folder / "a.mp4") is not None
    monkeypatch.setenv("PAVE_MAX_PIXELS", "many")
    with pytest.raises(ConfigError, match="PAVE_MAX_PIXELS='many': must be a positive"):
        read_frames(tmp_path, Uniform(1))


def test_pictures_that_grow_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = mux(tmp_path / "1.ts", numbered(10))
    large = mux(tmp_path / "2.ts", numbered(10, height=512), [4000 + 40 * i for i in range(10)])
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    monkeypatch.setenv("PAVE_MAX_PIXELS", str(64 * 64))
    with pytest.raises(MediaError):
        read_frames(both, Uniform(20))


def clips_of_ten(folder: Path, place: Path) -> list[Path]:
    """A video whose packets tell, one that is decoded to know, pictures and a stack: 64 x 64."""
    pictures, stack = place / "pictures", place / "stack"
    for made in (pictures, stack):
        made.mkdir()
    for number, picture in enumerate(numbered(10)):
        Image.fromarray(picture).save(pictures / f"{number}.png")
    np.save(stack / "stacked_images.npy", np.stack(list(numbered(10))))
    return [folder / "a.mp4", folder / "a.webm", pictures, stack]


def test_the_frames_held_at_once_have_a_limit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a short clip is repeated; pieces are held one at a time."""
    for place in clips_of_ten(folder, tmp_path):
        monkeypatch.setenv("PAVE_MAX_CLIP_PIXELS", str(64 * 64 * 4))
        assert numbers(read_frames(place, Uniform(4)).pixels) == [0, 3, 6, 9]
        pieces = list(stream_frames(place, Uniform(10), 4))
        assert [len(piece.times) for piece in pieces] == [4, 4, 2]
        reads: list[Callable[[Path], object]] = [
            lambda path: read_frames(path, Uniform(5)),
            lambda path: read_frames(path, Rate(100.0), folder_fps=25.0),
            lambda path: read_frames(path, At([0.0] * 5)),
            lambda path: list(stream_frames(path, Uniform(10), 5)),
        ]
        message = r"(5|10) frames of 64 x 64 pixels at once, more than the limit of 16,384 pixels"
        refused(place, f"{message}; take fewer.*stream_frames.*PAVE_MAX_CLIP_PIXELS", reads)
        monkeypatch.setenv("PAVE_MAX_CLIP_PIXELS", "0")
        with pytest.raises(ConfigError, match="PAVE_MAX_CLIP_PIXELS='0': must be a positive"):
            read_frames(place, Uniform(1))
        monkeypatch.undo()


def test_thousands_of_large_frames_are_refused_by_default(tmp_path: Path) -> None:
    """4,096 frames of 1080p would be 25 GB; nothing of the kind is asked of the system."""
    np.save(tmp_path / "stacked_images.npy", np.zeros((1, 1080, 1920, 3), np.uint8))
    with pytest.raises(MediaError, match=r"4,096 frames of 1,920 x 1,080.*2,147,483,648"):
        read_frames(tmp_path, Uniform(4096))
    assert len(read_frames(tmp_path, Uniform(2)).times) == 2


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_no_frame_is_decoded_of_a_clip_that_is_refused(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VP8 would be decoded from end to end to learn when its frames are shown."""
    monkeypatch.setenv("PAVE_MAX_CLIP_PIXELS", str(64 * 64 * 4))
    monkeypatch.delattr(frames, "_shown")
    reads: list[Callable[[Path], object]] = [
        lambda path: read_frames(path, Uniform(5)),
        lambda path: read_frames(path, At([0.0] * 5)),
        lambda path: list(stream_frames(path, Uniform(10), 5)),
    ]
    refused(folder / name, "5 frames of 64 x 64", reads)
