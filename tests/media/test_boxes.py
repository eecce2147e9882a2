"""A whole MP4 is read, whatever boxes it holds; one that is cut is named, wherever the cut is.

What is whole is known from how the file is built here: FFmpeg's own file, with further boxes that
ISO/IEC 14496-12 allows at the places where it allows them.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from helpers.clips import mux, numbered, numbers, tone
from pave.errors import MediaError
from pave.media import Uniform, read_frames, read_sound, write_video

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
X264 = {"preset": "medium", "threads": "1", "g": "8"}


def box(name: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def split(data: bytes) -> list[bytes]:
    """The outermost boxes of a file of FFmpeg's."""
    boxes = []
    while data:
        length = int.from_bytes(data[:4], "big")
        boxes.append(data[:length])
        data = data[length:]
    return boxes


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Index at the end."""
    place = tmp_path_factory.mktemp("plain") / "a.mp4"
    return write_video(place, numbered(24), 25, tone(1.0)).read_bytes()


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Index in front, media at the end."""
    place = tmp_path_factory.mktemp("fast") / "a.mp4"
    return write_video(place, numbered(24), 25, tone(1.0), faststart=True).read_bytes()


@pytest.fixture(scope="module")
def fragments(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three fragments of eight frames."""
    place = tmp_path_factory.mktemp("fragments") / "a.mp4"
    return mux(
        place,
        numbered(24),
        sounds=[(0.0, tone(1.0))],
        options=X264,
        container_options=FRAGMENTS,
    ).read_bytes()


def whole(folder: Path, data: bytes) -> None:
    file = folder / "whole.mp4"
    file.write_bytes(data)
    assert numbers(read_frames(file, Uniform(24)).pixels) == list(range(24))
    sound = read_sound(file)
    assert sound is not None and len(sound.samples) >= 16000


def cut(folder: Path, data: bytes) -> None:
    file = folder / "cut.mp4"
    file.write_bytes(data)
    for read in (lambda p: read_frames(p, Uniform(2)), read_sound):
        with pytest.raises(MediaError, match=r"cut\.mp4: (truncated|cannot be opened)"):
            read(file)


ODD = [
    box(b"prft", bytes(24)),
    box(b"uuid", bytes(16) + b"anything"),
    box(b"emsg", bytes(40)),
    box(b"abcd", bytes(100)),  # a name that nobody knows
    box(b"\xa9xyz", b"somewhere"),
    struct.pack(">I4sQ", 1, b"free", 16 + 50) + bytes(50),  # the long length
    struct.pack(">I4sQ", 1, b"wxyz", 16 + 50) + bytes(50),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda data: repr(data[4:8]))
def test_boxes_that_we_do_not_know(tmp_path: Path, plain: bytes, fragments: bytes, odd: bytes):
    """Before the index and behind everything; between the fragments of a stream."""
    whole(tmp_path, plain + odd)
    for data in (plain[:-1], fragments[:-1]):
        cut(tmp_path, data)
    boxes = split(fragments)
    mixed = [boxes[0], odd, boxes[1]]
    for part in boxes[2:]:
        if part[4:8] == b"moof":
            mixed.append(odd)
        mixed.append(part)
    whole(tmp_path, b"".join(mixed))
    mixed = [part for part in mixed if part[4:8] != b"mfra"]
    cut(tmp_path, b"".join(mixed)[:-100])


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov+dash", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("clock", ["wallclock", "pts"])
def test_fragments_with_the_producers_clock(tmp_path: Path, flags: str, clock: str) -> None:
    file = mux(
        tmp_path / "a.mp4",
        numbered(24),
        sounds=[(0.0, tone(1.0))],
        options=X264,
        container_options={"movflags": flags, "write_prft": clock},
    )
    assert b"prft" in file.read_bytes()
    whole(tmp_path, file.read_bytes())


def test_padding_at_the_end(tmp_path: Path, plain: bytes) -> None:
    """A file that is cut inside its last padding lacks nothing."""
    whole(tmp_path, plain + box(b"free", bytes(1000)))
    whole(tmp_path, plain + box(b"free", bytes(1000))[:-500])
    whole(tmp_path, plain + box(b"abcd", bytes(1000))[:-500])
    whole(tmp_path, plain + bytes(1000))
    whole(tmp_path, plain + b"\nappended by a script\n")


def test_media_up_to_the_end_of_the_file(tmp_path: Path, fast: bytes) -> None:
    """A length of 0 (4.2 of the standard); what the index promises must still be there."""
    at = fast.index(b"mdat") - 4
    data = fast[:at] + bytes(4) + fast[at + 4 :]
    whole(tmp_path, data)
    for missing in (1, 100, 2000):
        cut(tmp_path, data[:-missing])


def test_media_with_a_long_length(tmp_path: Path, fast: bytes, plain: bytes) -> None:
    """Eight bytes of padding before the media make room for it, as FFmpeg leaves them."""
    for data in (fast, plain):
        at = data.index(b"mdat") - 4
        assert data[at - 8 : at] == box(b"free")
        length = int.from_bytes(data[at : at + 4], "big") + 8
        long = data[: at - 8] + struct.pack(">I4sQ", 1, b"mdat", length) + data[at + 8 :]
        whole(tmp_path, long)
        cut(tmp_path, long[:-1])


def test_cut_between_and_inside_boxes(tmp_path: Path, fast: bytes) -> None:
    at = fast.index(b"mdat") - 4
    for end in (at, at + 3, at + 8, at + 9, len(fast) - 1):
        cut(tmp_path, fast[:end])


@pytest.mark.parametrize("name", [b"skip", b"free", b"abcd", b"idat", b"imda"])
def test_media_in_a_box_of_another_name(
    tmp_path: Path, fast: bytes, plain: bytes, name: bytes
) -> None:
    """The index says where every sample lies, whatever the box around them is called."""
    for data in (fast, plain):
        at = data.index(b"mdat")
        whole(tmp_path, data[:at] + name + data[at + 4 :])
    named = fast.replace(b"mdat", name)
    for missing in (1, 1000, len(fast) - fast.index(b"mdat")):
        cut(tmp_path, named[:-missing])


@pytest.mark.parametrize("name", [b"uuid", b"udta", b"meta", b"mdat"])
def test_nothing_is_lost_behind_the_media(
    tmp_path: Path, fast: bytes, plain: bytes, fragments: bytes, name: bytes
) -> None:
    """A box that is cut behind all samples; fragments have no index to tell that it is one."""
    tail = struct.pack(">I4s", 5000, name) + bytes(100)
    for data in (fast, plain):
        whole(tmp_path, data + tail)
    cut(tmp_path, fragments + tail)
    start = [part for part in split(fragments) if part[4:8] in (b"ftyp", b"moov")]
    cut(tmp_path, b"".join(start))
