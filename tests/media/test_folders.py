"""Folders of pictures as they really are: turned photos, hidden files, names that are no files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pave.errors import MediaError
from pave.media import Uniform, frame_times, list_pictures, probe, read_frames, read_sound
from pave.media.exif import orientation_of
from pave.media.orientation import turned, turned_pixels

ORIENTATION = 0x0112
WIDE, HIGH = 24, 16


def picture(seed: int = 0) -> Image.Image:
    """Random blocks of 8 x 8 pixels, which a jpg keeps well."""
    blocks = np.random.default_rng(seed).integers(0, 255, (HIGH // 8, WIDE // 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks.repeat(8, 0).repeat(8, 1))


def save(file: Path, orientation: int, order: str = "<", **more: object) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[ORIENTATION] = orientation
    exif[0x010F] = "a camera's maker"
    picture().save(file, exif=exif.tobytes(), quality=95, subsampling=0, **more)


def upright(file: Path) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(tmp_path: Path, orientation: int, suffix: str):
    for name, order in (("0", "<"), ("1", ">")):
        save(tmp_path / f"{name}{suffix}", orientation, order)
    read = read_frames(tmp_path, Uniform(2)).pixels.permute(0, 2, 3, 1).numpy()
    want = np.stack([upright(tmp_path / f"{name}{suffix}") for name in "01"])
    assert read.shape == want.shape
    # Two decoders of jpg differ by rounding; a wrong turn differs by half the range.
    assert (
        np.abs(read.astype(int) - want.astype(int)).mean() < (0 if suffix == ".png" else 3) + 1e-9
    )


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_and_no_note_leave_the_picture_alone(tmp_path: Path, orientation: int):
    save(tmp_path / "0.jpg", orientation)
    picture().save(tmp_path / "1.jpg")
    (tmp_path / "2.jpg").write_bytes((tmp_path / "0.jpg").read_bytes()[:30])
    (tmp_path / "3.jpg").write_bytes(b"")
    assert [orientation_of(tmp_path / f"{number}.jpg") for number in range(4)] == [1, 1, 1, 1]


def test_other_notes_stand_in_front_or_say_the_same(tmp_path: Path):
    """An ICC profile before EXIF; XMP where there is no EXIF (Pillow reads it, too)."""
    save(tmp_path / "0.jpg", 6, icc_profile=b"p" * 70_000, comment=b"hello")
    xmp = b'<x:xmpmeta xmlns:tiff="t"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    picture().save(tmp_path / "1.jpg", xmp=xmp)
    assert [orientation_of(tmp_path / name) for name in ("0.jpg", "1.jpg")] == [6, 8]
    read = read_frames(tmp_path, Uniform(1)).pixels[0].permute(1, 2, 0).numpy()
    assert np.abs(read.astype(int) - upright(tmp_path / "0.jpg").astype(int)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_shown_where_they_are_said_to_be(orientation: int):
    stored = np.arange(12).reshape(3, 4)
    shown = turned(stored, orientation)
    for row in range(3):
        for column in range(4):
            x, y, one = turned_pixels(orientation, 4, 3) @ (column, row, 1)
            assert one == 1 and shown[int(y), int(x)] == stored[row, column]


HIDDEN = ("._0.jpg", "._1.jpg", ".thumb.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".0.png")


def frames(folder: Path, count: int = 3) -> list[int]:
    folder.mkdir(exist_ok=True)
    levels = [20 + 50 * number for number in range(count)]
    for number, level in enumerate(levels):
        Image.new("RGB", (16, 16), (level,) * 3).save(folder / f"{number}.png")
    return levels


def test_hidden_files_are_no_frames(tmp_path: Path):
    """AppleDouble files begin with 0x00051607 and hold no picture."""
    for place in (tmp_path / "flat", tmp_path / "scan" / "color"):
        place.parent.mkdir(exist_ok=True)
        levels = frames(place)
        for name in HIDDEN:
            (place / name).write_bytes(b"\x00\x05\x16\x07" + b"\0" * 100)
    for folder in (tmp_path / "flat", tmp_path / "scan"):
        for name in HIDDEN:
            (folder / name).write_bytes(b"\x00\x05\x16\x07")
        assert read_frames(folder, Uniform(3)).pixels[:, 0, 0, 0].tolist() == levels
        assert [file.name for file in list_pictures(folder)] == ["0.png", "1.png", "2.png"]


def test_a_folder_of_hidden_files_alone_says_so(tmp_path: Path):
    (tmp_path / "._0.jpg").write_bytes(b"x")
    with pytest.raises(MediaError, match="hidden files are ignored"):
        read_frames(tmp_path, Uniform(1))


def test_a_frame_that_is_no_file_is_refused_and_not_passed_over(tmp_path: Path):
    """Left out, it would shift every frame behind it."""
    frames(tmp_path)
    (tmp_path / "notes.jpg").mkdir()
    assert len(list_pictures(tmp_path)) == 3, "a folder is no frame"
    (tmp_path / "1.png").unlink()
    for make, words in (
        (lambda file: os.mkfifo(file), "is a pipe"),
        (lambda file: file.symlink_to(file.name), "is a link to itself"),
        (lambda file: file.symlink_to("/dev/zero"), "is a device"),
        (lambda file: file.symlink_to("gone.png"), "no such file"),
    ):
        make(tmp_path / "1.png")
        with pytest.raises(MediaError, match=rf"1.png: .*{words}"):
            read_frames(tmp_path, Uniform(3))
        (tmp_path / "1.png").unlink()


def test_a_stack_that_is_no_file_is_refused(tmp_path: Path):
    frames(tmp_path)
    os.mkfifo(tmp_path / "stacked_images.npy")
    with pytest.raises(MediaError, match="is a pipe"):
        read_frames(tmp_path, Uniform(1))


def test_turned_frames_of_one_folder_must_fit_each_other(tmp_path: Path):
    save(tmp_path / "0.png", 1)
    save(tmp_path / "1.png", 6)
    with pytest.raises(MediaError, match="one size"):
        read_frames(tmp_path, Uniform(2))
    save(tmp_path / "0.png", 8)
    assert tuple(read_frames(tmp_path, Uniform(2)).pixels.shape) == (2, 3, WIDE, HIGH)
    assert read_frames(tmp_path, Uniform(2)).pixels.dtype == torch.uint8


@pytest.mark.parametrize("name", ["", "gone", "x" * 300, "a/" * 3000, "nul\0"])
def test_no_folder_at_all(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty path is not the folder that one happens to be in."""
    frames(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError):
        read_frames(name, Uniform(1))
    with pytest.raises(MediaError, match="no such folder"):
        list_pictures(Path(name or "gone"))
    for read in (probe, frame_times, read_sound):
        with pytest.raises(MediaError):
            read(name)
