"""`read_frames` on real files: the right frames, the right times, turned the right way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from helpers.clips import mux, number_of, numbered, numbers, photo, rotate, tone
from pave.errors import ConfigError, MediaError
from pave.media import At, Rate, Uniform, frames, probe, read_frames, write_video
from pave.media.folder import list_pictures as folder_pictures

X264 = {
    "preset": "medium",
    "threads": "1",
    "g": "12",
    "keyint_min": "12",
    "sc_threshold": "0",
    "bf": "3",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the module's files."""
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    """2 s at 25 fps with sound."""
    return write_video(folder / "clip.mp4", numbered(50), 25, tone(2.0))


def test_probe(clip: Path) -> None:
    """The header of a plain file."""
    info = probe(clip)
    assert info.duration == pytest.approx(2.0, abs=0.05)
    assert info.video is not None and info.sound is not None
    assert (
        info.video.width,
        info.video.height,
        info.video.fps,
        info.video.frames,
        info.video.rotation,
    ) == (
        64,
        64,
        25.0,
        50,
        0,
    )
    assert (info.sound.rate, info.sound.channels) == (16000, 1)


def test_uniform_frames_and_times(clip: Path) -> None:
    """The authors' indices; times are the frames' own."""
    taken = read_frames(clip, Uniform(8))
    index = np.linspace(0, 49, 8, dtype=int)
    assert taken.pixels.shape == (8, 3, 64, 64) and taken.pixels.dtype == torch.uint8
    assert numbers(taken.pixels) == index.tolist()
    assert taken.times.dtype == torch.float64
    torch.testing.assert_close(taken.times, torch.from_numpy(index / 25), rtol=0, atol=1e-9)


def test_short_clips_repeat_frames(folder: Path) -> None:
    """Three frames asked for eight times."""
    short = write_video(folder / "short.mp4", numbered(3), 25)
    assert (
        numbers(read_frames(short, Uniform(8)).pixels) == np.linspace(0, 2, 8, dtype=int).tolist()
    )


def test_rate_and_at(clip: Path) -> None:
    """Frames on screen at the beats and at given times, in the order given."""
    assert numbers(read_frames(clip, Rate(5)).pixels) == list(range(0, 50, 5))
    assert numbers(read_frames(clip, Rate(5, at_most=3)).pixels) == [0, 24, 49]
    at = read_frames(clip, At([1.0, 0.0, 1.0, 99.0]))
    assert numbers(at.pixels) == [25, 0, 25, 49]
    torch.testing.assert_close(at.times, torch.tensor([1.0, 0.0, 1.0, 1.96], dtype=torch.float64))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".mov", ".flv"])
def test_containers(folder: Path, suffix: str) -> None:
    """The same frames at the same times, whatever the container and its clock's start."""
    clip = write_video(folder / f"any{suffix}", numbered(30), 25, tone(1.2), keyframe_every=10)
    taken = read_frames(clip, Uniform(7))
    assert numbers(taken.pixels) == np.linspace(0, 29, 7, dtype=int).tolist()
    torch.testing.assert_close(taken.times * 25, taken.times.mul(25).round(), rtol=0, atol=0.03)
    assert taken.times[0] == 0


def test_variable_frame_rate(folder: Path) -> None:
    """Times come from the file, not from index / fps; `At` and `Rate` follow them."""
    ticks = [0, 40, 80, 1080, 1100, 1120, 3000, 3500]
    clip = mux(folder / "vfr.mp4", numbered(8), ticks)
    everything = read_frames(clip, Uniform(8))
    assert (everything.times * 1000).round().int().tolist() == ticks
    assert numbers(read_frames(clip, At([0.5, 1.09, 2.9, 3.2])).pixels) == [2, 3, 5, 6]
    assert numbers(read_frames(clip, Rate(1)).pixels) == [0, 2, 5, 6]


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_rotation_is_applied(folder: Path, clockwise: int) -> None:
    """A corner that is white in the stored picture is where a player would show it."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = 255
    stored = write_video(folder / "corner.mp4", [picture] * 3, 25)
    turned = rotate(stored, folder / f"turned{clockwise}.mp4", clockwise)
    expected = np.rot90(picture, -clockwise // 90)
    shown = read_frames(turned, Uniform(2)).pixels[1].permute(1, 2, 0).float().numpy()
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 6
    video = probe(turned).video
    assert video is not None and (video.height, video.width) == expected.shape[:2]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("extra", ["", "open-gop=1"])
def test_jumping_gives_the_frames_of_a_full_decode(folder: Path, suffix: str, extra: str) -> None:
    """B-frames, open groups of pictures, irregular times: the frames of a full decoding."""
    options = X264 | ({"x264-params": extra} if extra else {})
    ticks = np.cumsum(np.random.default_rng(0).integers(20, 90, 150)).tolist()
    clip = mux(folder / f"gop{len(extra)}{suffix}", numbered(150), ticks, options=options)
    full = read_frames(clip, Uniform(150))
    assert numbers(full.pixels) == list(range(150))
    for count in (1, 2, 5, 13, 60):
        few = read_frames(clip, Uniform(count))
        index = np.linspace(0, 149, count, dtype=int)
        assert torch.equal(few.pixels, full.pixels[index]) and torch.equal(
            few.times, full.times[index]
        )
    for moment in (0.0, 1.0, 3.3, 7.7):
        one = read_frames(clip, At([moment]))
        assert torch.equal(one.pixels[0], full.pixels[number_of(one.pixels[0])])


def test_long_files_are_not_decoded_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three frames of 400 cost at most three groups of pictures."""
    clip = mux(folder / "long.mp4", numbered(400), options=X264)
    decoded = 0
    original = frames._shown

    def counting(*args: object) -> Iterator[object]:
        nonlocal decoded
        for pair in original(*args):  # type: ignore[arg-type]
            decoded += 1
            yield pair

    monkeypatch.setattr(frames, "_shown", counting)
    assert numbers(read_frames(clip, Uniform(3)).pixels) == [0, 199, 399]
    assert decoded <= 3 * 16


def test_streams_without_timestamps(folder: Path) -> None:
    """A bare H.264 stream has no container at all: frames are counted instead."""
    clip = mux(folder / "bare.h264", numbered(20), options=X264)
    taken = read_frames(clip, Uniform(5))
    assert numbers(taken.pixels) == [0, 4, 9, 14, 19]
    assert bool((taken.times.diff() > 0).all())


def test_hidden_frames_are_not_counted(folder: Path) -> None:
    """VP8 keeps frames that are never shown as packets of their own: count what is shown."""
    options = {
        "auto-alt-ref": "1",
        "lag-in-frames": "16",
        "arnr-maxframes": "5",
        "b": "200k",
        "cpu-used": "8",
    }
    clip = mux(folder / "hidden.webm", numbered(60), codec="libvpx", options=options)
    assert numbers(read_frames(clip, Uniform(60)).pixels) == list(range(60))
    assert (
        numbers(read_frames(clip, Uniform(6)).pixels) == np.linspace(0, 59, 6, dtype=int).tolist()
    )


def test_folder_of_frames(folder: Path, clip: Path) -> None:
    """Pictures sorted by number; times from the rate given; other files ignored."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, picture in enumerate(numbered(12)):
        photo(pictures / f"frame{number}.{'png' if number % 2 else 'jpg'}", picture)
    (pictures / "poses.txt").write_text("not a frame")
    taken = read_frames(pictures, Uniform(12))
    assert numbers(taken.pixels) == list(range(12)) and taken.times.tolist() == [
        float(i) for i in range(12)
    ]
    assert numbers(read_frames(pictures, Rate(1), folder_fps=4).pixels) == [0, 4, 8]
    with pytest.raises(ConfigError, match="folder_fps"):
        read_frames(pictures, Uniform(1), folder_fps=0)


def test_folder_with_pictures_of_two_sizes(tmp_path: Path) -> None:
    """They cannot be one clip."""
    for number, height in enumerate((64, 32)):
        photo(tmp_path / f"{number}.png", numbered(1, height=height)[0])
    with pytest.raises(MediaError, match="one size"):
        read_frames(tmp_path, Uniform(2))


class _Clips(Dataset[torch.Tensor]):
    """Reads the same clip again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        return read_frames(self.path, At([index / 5])).pixels


def test_in_the_workers_of_a_data_loader(clip: Path) -> None:
    """Decoding before and after a fork, in two processes at once."""
    read_frames(clip, Uniform(2))
    batch = torch.cat(list(DataLoader(_Clips(clip), batch_size=None, num_workers=2)))
    assert numbers(batch) == [0, 5, 10, 15, 20, 25]


def test_paths_with_odd_characters(clip: Path, tmp_path: Path) -> None:
    """A name that FFmpeg would take for a pattern or a protocol is just a name."""
    for name in ("with space.mp4", "100%d.mp4", "http:x.mp4", "ünï.mp4"):
        shutil.copy(clip, tmp_path / name)
        assert numbers(read_frames(tmp_path / name, Uniform(2)).pixels) == [0, 49]


def test_scans_in_scannets_layout_show_their_colour_pictures(tmp_path: Path) -> None:
    pictures = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    for part in ("color", "depth"):
        (tmp_path / part).mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "color" / f"{number}.png")
        Image.fromarray(picture[..., 0].astype(np.uint16)).save(
            tmp_path / "depth" / f"{number}.png"
        )
    assert torch.equal(
        read_frames(tmp_path, Uniform(3)).pixels, torch.from_numpy(pictures).permute(0, 3, 1, 2)
    )
    for number in range(3):  # in one folder: pictures are jpg, depth maps png of the same name
        Image.fromarray(pictures[number]).save(tmp_path / f"{number}.jpg")
        shutil.copy(tmp_path / "depth" / f"{number}.png", tmp_path / f"{number}.png")
    assert [file.name for file in folder_pictures(tmp_path)] == ["0.jpg", "1.jpg", "2.jpg"]


def test_stacks_of_frames_are_read_as_folders(tmp_path: Path) -> None:
    stack = np.arange(5 * 2 * 3 * 3, dtype=np.uint8).reshape(5, 2, 3, 3)
    np.save(tmp_path / "stacked_images.npy", stack)
    read = read_frames(tmp_path, Uniform(3), folder_fps=2)
    assert torch.equal(read.pixels, torch.from_numpy(stack[[0, 2, 4]]).permute(0, 3, 1, 2))
    assert read.times.tolist() == [0, 1, 2]
    np.save(tmp_path / "stacked_images.npy", stack.astype(np.float32))
    with pytest.raises(MediaError, match="must hold uint8 frames"):
        read_frames(tmp_path, Uniform(3))
    (tmp_path / "stacked_images.npy").write_bytes(b"cut")
    with pytest.raises(MediaError, match="cannot be read as an array"):
        read_frames(tmp_path, Uniform(3))
