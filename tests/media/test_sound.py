"""`read_sound` on real files: level, pitch, rate and place in time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from helpers.clips import mux, numbered, tone
from pave.errors import ConfigError
from pave.media import Sound, read_sound, write_video
from pave.media.track import Track


def loudness(sound: Sound, begin: float, end: float) -> float:
    """Amplitude of a sine between two instants of the clip."""
    first, last = (round((t - sound.start) * sound.rate) for t in (begin, end))
    return float(sound.samples[first:last].square().mean().sqrt() * 2**0.5)


def pitch(sound: Sound) -> float:
    """The strongest frequency, Hz."""
    spectrum = torch.fft.rfft(sound.samples[: sound.rate]).abs()
    return float(spectrum.argmax()) * sound.rate / min(len(sound.samples), sound.rate)


def must(sound: Sound | None) -> Sound:
    """There is sound."""
    assert sound is not None
    assert sound.samples.dtype == torch.float32 and sound.samples.dim() == 1
    return sound


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("own", [16000, 44100])
def test_any_rate(tmp_path: Path, own: int, rate: int) -> None:
    """Length, pitch and level survive resampling."""
    clip = write_video(tmp_path / "a.mp4", numbered(25), 25, tone(1.0, own), own)
    sound = must(read_sound(clip, rate))
    assert sound.rate == rate and abs(sound.start) < 0.03
    assert len(sound.samples) / rate == pytest.approx(1.0, abs=0.07)
    assert pitch(sound) == pytest.approx(440, abs=3)
    assert loudness(sound, 0.2, 0.8) == pytest.approx(0.5, rel=0.05)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    """The same sound in both ears keeps its level; in one ear it has half."""
    wave = tone(1.0, 44100)
    both = write_video(tmp_path / "both.mp4", numbered(25), 25, np.stack([wave, wave], 1), 44100)
    one = write_video(tmp_path / "one.mp4", numbered(25), 25, np.stack([wave, 0 * wave], 1), 44100)
    assert loudness(must(read_sound(both)), 0.2, 0.8) == pytest.approx(0.5, rel=0.05)
    assert loudness(must(read_sound(one)), 0.2, 0.8) == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_that_starts_late(tmp_path: Path, suffix: str) -> None:
    """Its place beside the picture is kept."""
    clip = mux(tmp_path / f"late{suffix}", numbered(50), sounds=[(0.7, tone(0.8))])
    sound = must(read_sound(clip))
    assert sound.start == pytest.approx(
        0.7, abs=0.08
    )  # an encoder's first block may be counted in or out
    onset = sound.start + float((sound.samples.abs() > 0.1).nonzero()[0]) / sound.rate
    assert onset == pytest.approx(0.7, abs=0.08 if suffix == ".ts" else 0.02)


def test_picture_that_starts_late(tmp_path: Path) -> None:
    """Time zero is the first frame, so earlier sound has negative times."""
    clip = mux(
        tmp_path / "early.mkv",
        numbered(25),
        [500 + 40 * i for i in range(25)],
        sounds=[(0.0, tone(1.0))],
    )
    assert must(read_sound(clip)).start == pytest.approx(-0.5, abs=0.08)


def test_holes_are_silence(tmp_path: Path) -> None:
    """Sound after a hole stays where it belongs."""
    clip = mux(tmp_path / "hole.mkv", numbered(75), sounds=[(0.0, tone(0.8)), (2.0, tone(0.8))])
    sound = must(read_sound(clip))
    assert loudness(sound, 0.2, 0.6) == pytest.approx(0.5, rel=0.05)
    assert loudness(sound, 1.1, 1.8) < 0.01
    assert loudness(sound, 2.2, 2.6) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("seconds", [0.3, 3.0])
def test_sound_of_another_length_than_the_picture(tmp_path: Path, seconds: float) -> None:
    """It is neither cut nor filled up."""
    clip = write_video(tmp_path / "a.mp4", numbered(25), 25, tone(seconds))
    sound = must(read_sound(clip))
    assert len(sound.samples) / sound.rate == pytest.approx(seconds, abs=0.07)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".flv", ".ts"])
def test_nothing_is_lost_at_the_end(tmp_path: Path, suffix: str) -> None:
    """The decoder's and the resampler's last samples arrive, whichever track comes first."""
    clip = write_video(tmp_path / f"a{suffix}", numbered(25), 25, tone(1.0, 44100), 44100)
    sound = must(read_sound(clip))
    assert loudness(sound, 0.93, 0.99) == pytest.approx(0.5, rel=0.1)


def test_a_track_that_changes_on_the_way() -> None:
    """Broadcasts go from mono to stereo and back."""
    track = Track("broadcast", 8000)
    for index, (layout, rate) in enumerate(
        [("mono", 16000), ("stereo", 16000), ("stereo", 48000), ("mono", 16000)]
    ):
        wave = np.stack([tone(0.5, rate)] * (1 + (layout == "stereo")))
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, index * rate // 2, Fraction(1, rate)
        track.add(frame)
    wave = track.wave()
    assert len(wave) == pytest.approx(16000, abs=40)
    assert np.sqrt(np.mean(wave**2) * 2) == pytest.approx(0.5, rel=0.02)


def test_missing_sound_is_legal(tmp_path: Path) -> None:
    """A silent film and a folder of frames have no sound: None, not an error."""
    assert read_sound(write_video(tmp_path / "silent.mp4", numbered(5), 25)) is None
    assert read_sound(tmp_path) is None


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".wav", "pcm_s16le"), (".flac", "flac"), (".m4a", "aac"), (".ogg", "libopus")],
)
def test_sound_files(tmp_path: Path, suffix: str, codec: str) -> None:
    """A file without picture starts at zero."""
    file = mux(
        tmp_path / f"only{suffix}", sounds=[(0.0, np.stack([tone(1.0)] * 2))], sound_codec=codec
    )
    sound = must(read_sound(file))
    assert sound.start == 0.0
    assert len(sound.samples) / sound.rate == pytest.approx(1.0, abs=0.13)
    assert loudness(sound, 0.2, 0.8) == pytest.approx(0.5, rel=0.1)


def test_impossible_rate(tmp_path: Path) -> None:
    """Zero samples per second."""
    with pytest.raises(ConfigError, match="rate"):
        read_sound(tmp_path, 0)
