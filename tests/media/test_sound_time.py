"""Sample n stands at start + n / rate, whatever the file's clock does; and memory stays small."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.clips import mux, numbered, tone
from helpers.sounds import chord, packed16, placed, wav
from pave.errors import ConfigError, MediaError
from pave.media import Sound, read_sound
from pave.media.container import open_media
from pave.media.limits import SOUND_HOLE, SOUND_SAMPLES, SOUND_SECONDS
from pave.media.track import TOLERANCE

RATE, BLOCK = 16000, 1024  # of 64 ms
OFF = TOLERANCE + 0.003  # s: a millisecond of Matroska, one of the test's own rounding, a sample


def must(path: Path) -> Sound:
    """There is sound."""
    sound = read_sound(path, RATE)
    assert sound is not None
    return sound


def clicked(count: int) -> list[np.ndarray]:
    """Blocks of a low level that begin with a click."""
    block = np.full(BLOCK, 0.1, np.float32)
    block[:8] = 0.9
    return [block] * count


def clicks(sound: Sound) -> np.ndarray:
    """Seconds at which clicks begin."""
    wave = sound.samples.numpy()
    onsets = np.flatnonzero((wave > 0.5) & (np.r_[0, wave[:-1]] <= 0.5))
    return sound.start + onsets / RATE


@pytest.mark.parametrize("gap", [-50, -40, -25, -10, -3, 0, 3, 10, 15, 25, 40, 50, 200])
def test_small_gaps_and_overlaps_do_not_add_up(tmp_path: Path, gap: int) -> None:
    """A hundred of them, of so many milliseconds each."""
    times = np.arange(100) * (0.064 + gap / 1000)
    file = placed(tmp_path / "a.mkv", list(zip(times.tolist(), clicked(100), strict=True)))
    found = clicks(must(file))
    assert len(found) == 100 and np.abs(found - times).max() < OFF


@settings(max_examples=25, deadline=None)
@given(gaps=st.lists(st.integers(-20, 60), min_size=5, max_size=60), late=st.integers(0, 3000))
def test_any_gaps(tmp_path_factory: pytest.TempPathFactory, gaps: list[int], late: int) -> None:
    """Of any lengths, in any order."""
    times = (late + np.cumsum([0, *(64 + gap for gap in gaps)])) / 1000
    file = tmp_path_factory.mktemp("gaps") / "a.mkv"
    blocks = clicked(len(times))
    found = clicks(must(placed(file, list(zip(times.tolist(), blocks, strict=True)))))
    # A file without picture starts at zero.
    assert len(found) == len(times) and np.abs(found - (times - times[0])).max() < OFF


def test_jitter_leaves_no_seam(tmp_path: Path) -> None:
    """Timestamps off by a few milliseconds: the very samples, one after another."""
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal(100 * BLOCK) * 0.1).astype(np.float32)
    times = np.arange(100) * 0.064 + rng.uniform(-0.008, 0.008, 100)
    times[0] = 0.01
    blocks = [wave[i * BLOCK : (i + 1) * BLOCK] for i in range(100)]
    sound = must(placed(tmp_path / "a.mkv", list(zip(times.tolist(), blocks, strict=True))))
    assert len(sound.samples) == len(wave)
    assert np.abs(sound.samples.numpy() - wave).max() < 1e-4


def test_timestamps_that_stand_still(tmp_path: Path) -> None:
    """Bursts of one timestamp tell where their first block is, the rest follows."""
    times = (np.arange(40) // 4) * 4 * 0.064
    file = placed(tmp_path / "a.mkv", list(zip(times.tolist(), clicked(40), strict=True)))
    found = clicks(must(file))
    assert len(found) == 40 and np.abs(found - np.arange(40) * 0.064).max() < OFF


@pytest.mark.parametrize("hours", [1, 24, 240, 2000])
def test_a_clock_that_jumps_ahead(tmp_path: Path, hours: int) -> None:
    """A hole longer than ten minutes is refused in one line, without the memory of its silence."""
    file = placed(
        tmp_path / "a.mkv",
        [*zip([0.0, 0.064], clicked(2), strict=True), (3600.0 * hours, clicked(1)[0])],
    )
    tracemalloc.start()
    with pytest.raises(MediaError, match=r"a hole of [\d,.]+ s after 0.1 s.*PAVE_MAX_SOUND_HOLE"):
        read_sound(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_long_hole_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is a setting, both ways."""
    file = placed(tmp_path / "a.mkv", list(zip([0.0, 900.0], clicked(2), strict=True)))
    monkeypatch.setenv(SOUND_HOLE, "1000")
    assert clicks(must(file)).tolist() == pytest.approx([0, 900], abs=OFF)
    monkeypatch.setenv(SOUND_HOLE, "899")
    with pytest.raises(MediaError, match="limit of 899"):
        read_sound(file)
    monkeypatch.setenv(SOUND_HOLE, "ten")
    with pytest.raises(ConfigError, match="PAVE_MAX_SOUND_HOLE='ten'"):
        read_sound(file)


def test_long_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds and samples have limits of their own, told with what to set."""
    file = wav(tmp_path / "a.wav", bytes(2 * RATE * 30), RATE)
    long = placed(tmp_path / "a.mkv", [(2.0 * i, np.zeros(BLOCK, np.float32)) for i in range(15)])
    monkeypatch.setenv(SOUND_SECONDS, "20")
    for path in (file, long):  # the first says its length in its header
        with pytest.raises(
            MediaError, match=r"s of sound, more than the limit of 20; cut it or set"
        ):
            read_sound(path)
    monkeypatch.setenv(SOUND_SECONDS, "31")
    assert len(must(long).samples) == pytest.approx(28.064 * RATE, abs=OFF * RATE)
    monkeypatch.setenv(SOUND_SAMPLES, "400000")
    with pytest.raises(MediaError, match=r"480,000 samples of sound .*PAVE_MAX_SOUND_SAMPLES"):
        read_sound(file)
    sound = read_sound(file, 8000)
    assert sound is not None and len(sound.samples) == 240_000


@pytest.mark.parametrize("rate", [1, 7, 99, 10_000_001, 2_000_000_000, 2**31 - 1])
def test_absurd_rates(tmp_path: Path, rate: int) -> None:
    """A WAV of a megabyte that would last for days, or for no time."""
    file = wav(tmp_path / "a.wav", bytes(1_000_000), rate)
    with pytest.raises(MediaError, match=r"samples per second; from 100 to 10,000,000"):
        read_sound(file)


@pytest.mark.parametrize("rate", [100, 999, 4000, 12345, 44101, 384_000, 999_983])
def test_odd_rates(tmp_path: Path, rate: int) -> None:
    """Whatever can be a rate is read: a second of it gives a second."""
    file = wav(tmp_path / "a.wav", packed16(np.full(rate, 0.25, np.float32)), rate)
    wave = must(file).samples.numpy()
    assert len(wave) == pytest.approx(RATE, abs=2)
    assert np.abs(wave[4000:12000] - 0.25).max() < 0.01


def test_rates_asked_for(tmp_path: Path) -> None:
    """One that nobody can want is no request for memory."""
    with pytest.raises(ConfigError, match="rate=1000000000: must be from 1 to"):
        read_sound(tmp_path, 10**9)


def test_less_than_a_sample(tmp_path: Path) -> None:
    """One sample at 48 kHz is none at 100 Hz."""
    file = wav(tmp_path / "a.wav", bytes(2), 48000)
    with pytest.raises(MediaError, match="of which no sample"):
        read_sound(file, 100)


@pytest.mark.parametrize("rate", [None, 16000])
def test_sound_that_the_header_does_not_know(tmp_path: Path, rate: int | None) -> None:
    """It begins a quarter of an hour late: rate and channels are those of its first frame."""
    file = mux(
        tmp_path / "late.ts",
        numbered(100),
        [9000 * i for i in range(100)],
        sounds=[(850.0, tone(1.0, 24000))],
        rate=24000,
        sound_codec="mp2",
    )
    with open_media(file) as media:
        assert media.container.streams.audio[0].codec_context.sample_rate == 0
    sound = read_sound(file, rate)
    assert sound is not None and sound.rate == (rate or 24000)
    assert len(sound.samples) / sound.rate == pytest.approx(1, abs=0.06)
    assert sound.start == pytest.approx(850, abs=0.06)


@pytest.mark.parametrize("mono", [True, False])
def test_a_long_track_is_the_same_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mono: bool
) -> None:
    """With holes, overlaps and two channels; every sample as if it had stayed in memory."""
    times = np.cumsum([0, *[0.064 + gap for gap in (0.2, -0.05, 0, 0.04, 1.5, -0.06) * 8]])
    noise = np.random.default_rng(0).normal(0, 0.1, (len(times), BLOCK)).astype(np.float32)
    file = placed(tmp_path / "a.mkv", list(zip(times.tolist(), noise, strict=True)))
    if not mono:
        file = wav(tmp_path / "b.wav", packed16(chord(2, 20_000)), RATE, 2)
    held = read_sound(file, RATE, mono=mono)
    monkeypatch.setattr("pave.media.track.HELD", 3000)
    found = read_sound(file, RATE, mono=mono)
    assert held is not None and found is not None
    assert found.start == held.start and found.samples.shape == held.samples.shape
    assert found.samples.equal(held.samples)
    found.samples[..., 0] = 1  # a caller's own, and no other's


def test_memory_does_not_grow_with_the_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty minutes would be 77 MB; what is held is a megabyte of samples and its copies."""
    file = tmp_path / "long.wav"
    silent = packed16(np.zeros(RATE * 60, np.float32))
    wav(file, silent * 20, RATE)
    monkeypatch.setattr("pave.media.track.HELD", 2**18)
    tracemalloc.start()
    sound = must(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(sound.samples) == RATE * 1200
    assert peak < 8e6
