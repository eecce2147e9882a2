"""`stream_frames` gives what `read_frames` gives, in pieces; frame times; 16-bit depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.clips import mux, numbered, photo, tone
from pave.errors import MediaError
from pave.media import (
    At,
    Rate,
    Sampling,
    Uniform,
    frame_times,
    list_pictures,
    read_depth,
    read_frames,
    read_sound,
    stream_frames,
    write_video,
)


@pytest.fixture(params=["mp4", "vp8", "folder"])
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """45 frames: packets that tell, packets that do not (VP8), and pictures."""
    if request.param == "mp4":
        return write_video(tmp_path / "a.mp4", numbered(45), 25)
    if request.param == "vp8":
        return mux(
            tmp_path / "a.webm", numbered(45), codec="libvpx", options={"deadline": "realtime"}
        )
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(numbered(45)):
        photo(folder / f"{number}.png", picture)
    return folder


@pytest.mark.parametrize(
    "sampling", [Uniform(10), Uniform(100), Rate(10.0), At([0.0, 0.3, 0.3, 1.1])], ids=str
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_pieces_are_the_whole(clip: Path, sampling: Sampling, size: int) -> None:
    """Also for frames that are wanted twice."""
    whole = read_frames(clip, sampling, folder_fps=25.0)
    pieces = list(stream_frames(clip, sampling, size, folder_fps=25.0))
    assert torch.equal(torch.cat([piece.pixels for piece in pieces]), whole.pixels)
    assert torch.equal(torch.cat([piece.times for piece in pieces]), whole.times)
    assert all(len(piece.times) == size for piece in pieces[:-1])
    assert len(frame_times(clip, folder_fps=25.0)) == 45


def test_depth_maps(tmp_path: Path) -> None:
    """16-bit values survive; an ordinary picture is refused."""
    from PIL import Image

    raw = np.array([[0, 1, 255], [256, 4001, 65535]], np.uint16)
    Image.fromarray(raw).save(tmp_path / "d.png")
    assert np.array_equal(read_depth(tmp_path / "d.png"), raw)
    photo(tmp_path / "c.png", numbered(1)[0])
    with pytest.raises(MediaError, match="16-bit grey"):
        read_depth(tmp_path / "c.png")
    assert [file.name for file in list_pictures(tmp_path)] == ["c.png", "d.png"]


def test_channels_apart(tmp_path: Path) -> None:
    """At the file's own rate, left and right; the mean of both is what mono gives."""
    both = np.stack([tone(1.0, 22050, 440.0), tone(1.0, 22050, 660.0, 0.2)])
    clip = mux(tmp_path / "a.wav", sounds=[(0.0, both)], rate=22050, sound_codec="pcm_s16le")
    apart, mono = read_sound(clip, None, mono=False), read_sound(clip, None)
    assert apart is not None and mono is not None and apart.rate == mono.rate == 22050
    assert apart.samples.shape == (2, 22050) and mono.samples.shape == (22050,)
    torch.testing.assert_close(apart.samples, torch.from_numpy(both), rtol=0, atol=1e-3)
    torch.testing.assert_close(apart.samples.mean(0), mono.samples, rtol=0, atol=1e-6)


def test_channels_apart_with_a_hole(tmp_path: Path) -> None:
    """Silence fills the hole in every channel."""
    both = np.stack([tone(0.4), tone(0.4, hertz=880.0)])
    clip = mux(tmp_path / "a.mkv", sounds=[(0.0, both), (1.0, both)], sound_codec="pcm_s16le")
    sound = read_sound(clip, None, mono=False)
    assert sound is not None and sound.samples.shape == (2, round(1.4 * 16000))
    assert float(sound.samples[:, 8000:15000].abs().max()) == 0
