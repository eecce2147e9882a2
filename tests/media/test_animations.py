"""Pictures that move: read as films where FFmpeg can, refused in their own words where not."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from helpers.clips import numbered, numbers
from pave.errors import MediaError
from pave.media import Uniform, frame_rate, frame_times, probe, read_frames, read_picture

DURATIONS = [40, 80, 120] * 4  # milliseconds of each frame
TIMES = np.cumsum([0, *DURATIONS[:-1]]) / 1000


def animation(file: Path, **more: object) -> Path:
    first, *rest = map(Image.fromarray, numbered(12))
    first.save(file, save_all=True, append_images=rest, duration=DURATIONS, **more)
    return file


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.apng", "a.avif", "avif.mp4"])
def test_animations_are_films(tmp_path: Path, name: str) -> None:
    """An AVIF holds its first picture once more, in front."""
    kind = "AVIF" if "avif" in name else None
    file = animation(tmp_path / name, format=kind)
    assert numbers(read_frames(file, Uniform(12)).pixels) == list(range(12))
    np.testing.assert_allclose(frame_times(file), TIMES, atol=1e-3)
    video = probe(file).video
    assert video is not None and video.frames == 12
    assert frame_rate(file) == pytest.approx(12 / 0.96, rel=0.06)


def test_a_still_avif_is_one_frame(tmp_path: Path) -> None:
    Image.fromarray(numbered(6)[5]).save(tmp_path / "a.avif")
    assert numbers(read_frames(tmp_path / "a.avif", Uniform(1)).pixels) == [5]


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("name", ["a.webp", "webp.mp4"])
def test_an_animated_webp_is_called_so(tmp_path: Path, name: str, lossless: bool) -> None:
    file = animation(tmp_path / name, format="WEBP", lossless=lossless)
    for read in (probe, frame_times, read_picture, lambda path: read_frames(path, Uniform(2))):
        with pytest.raises(MediaError, match="is an animated WebP.*convert it to GIF, APNG or MP4"):
            read(file)
    still = tmp_path / "still.webp"
    Image.fromarray(numbered(6)[5]).save(still, lossless=lossless)
    assert numbers(read_frames(still, Uniform(1)).pixels) == [5]


def full(name: bytes, flags: int, *parts: bytes) -> bytes:
    """A box with a version and flags."""
    body = struct.pack(">I", flags) + b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def tiled(tile: bytes, av1c: bytes) -> bytes:
    """A picture of two tiles side by side, as HEIF describes it (ISO/IEC 23008-12, 6.6.2.3)."""
    grid = bytes([0, 0, 0, 1]) + struct.pack(">HH", 128, 64)
    kinds = [(1, b"grid"), (2, b"av01"), (3, b"av01")]
    items = [full(b"infe", 2 << 24, struct.pack(">HH", n, 0), kind, b"\0") for n, kind in kinds]
    sizes = [(128, 64), (64, 64)]
    shapes = [full(b"ispe", 0, struct.pack(">II", *size)) for size in sizes]
    properties = struct.pack(">I4s", 8 + len(b"".join(shapes)) + len(av1c), b"ipco")
    properties += b"".join(shapes) + av1c
    uses = [struct.pack(">HBB", 1, 1, 1)]
    uses += [struct.pack(">HBBB", n, 2, 2, 3 | 128) for n in (2, 3)]
    properties += full(b"ipma", 0, struct.pack(">I", 3), *uses)
    made_of = struct.pack(">I4sHHHH", 16, b"dimg", 1, 2, 2, 3)
    head = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"avif", 0, b"mif1", b"avif")

    def meta(at: int) -> bytes:
        places = [
            (1, at, len(grid)),
            (2, at + len(grid), len(tile)),
            (3, at + len(grid), len(tile)),
        ]
        where = b"".join(struct.pack(">HHHII", n, 0, 1, begin, size) for n, begin, size in places)
        return full(
            b"meta",
            0,
            full(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            full(b"pitm", 0, struct.pack(">H", 1)),
            full(b"iinf", 0, struct.pack(">H", 3), *items),
            full(b"iloc", 0, bytes([0x44, 0]), struct.pack(">H", 3), where),
            struct.pack(">I4s", 8 + len(properties), b"iprp") + properties,
            full(b"iref", 0, made_of),
        )

    begin = len(head) + len(meta(0)) + 8
    return head + meta(begin) + struct.pack(">I4s", 8 + len(grid + tile), b"mdat") + grid + tile


def test_a_photo_of_tiles_is_no_photo_of_its_first_tile(tmp_path: Path) -> None:
    """As phones keep theirs; to FFmpeg each tile is a picture track."""
    still = tmp_path / "still.avif"
    Image.fromarray(numbered(6)[5]).save(still)
    data = still.read_bytes()
    at = data.index(b"av1C") - 4
    av1c = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    with av.open(str(still)) as container:
        tile = bytes(next(container.demux(video=0)))
    file = tmp_path / "tiles.avif"
    file.write_bytes(tiled(tile, av1c))
    with av.open(str(file)) as container:
        assert len(container.streams.video) == 2
    for read in (probe, frame_times, read_picture, lambda path: read_frames(path, Uniform(2))):
        with pytest.raises(MediaError, match="consists of tiles.*convert it to JPEG or PNG"):
            read(file)
