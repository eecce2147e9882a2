"""The mel encoder: right times, right bands, honest loudness."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.clips import mux, numbered, tone
from pave.channels import make_encoder
from pave.channels.mel import MelEncoder, MelSettings, mel_filters
from pave.errors import ChannelError
from pave.media import Sound, write_video
from pave.tokens import Tokens


def sound(
    seconds: float, hertz: float = 440.0, level: float = 0.5, rate: int = 16000, start: float = 0.0
) -> Sound:
    """A sine as decoded sound."""
    return Sound(torch.from_numpy(tone(seconds, rate, hertz, level)), rate, start)


def test_tokens_of_a_clip(tmp_path: Path) -> None:
    """Two seconds give ten tokens whose times are their windows' centres."""
    clip = write_video(tmp_path / "a.mp4", numbered(50), 25, tone(2.0))
    encoder = make_encoder("audio", "mel")
    tokens = encoder.encode(clip)
    assert isinstance(tokens, Tokens)
    assert tokens.values.shape == (10, 1, encoder.dim) and tokens.values.dtype == torch.float32
    torch.testing.assert_close(tokens.times, torch.arange(10, dtype=torch.float64) * 0.2 + 0.1)


def test_no_sound_is_none(tmp_path: Path) -> None:
    """A silent film has no such channel."""
    clip = write_video(tmp_path / "silent.mp4", numbered(5), 25)
    assert make_encoder("audio", "mel").encode(clip) is None


def test_late_sound_keeps_its_time(tmp_path: Path) -> None:
    """Tokens of a track that starts late start late."""
    clip = mux(tmp_path / "late.mp4", numbered(50), sounds=[(0.7, tone(0.8))])
    tokens = make_encoder("audio", "mel").encode(clip)
    assert tokens is not None
    loudest = tokens.values.amax((1, 2)) > 0
    assert float(tokens.times[loudest][0]) == pytest.approx(0.8, abs=0.12)
    assert float(tokens.times[-1]) < 1.6


@given(
    seconds=st.floats(0.01, 3.0),
    step=st.integers(1, 30),
    bins=st.integers(1, 4),
    per_bin=st.integers(1, 8),
    start=st.floats(-1.0, 5.0),
)
@settings(max_examples=30, deadline=None)
def test_shapes_and_times(seconds: float, step: int, bins: int, per_bin: int, start: float) -> None:
    """Any length, overlap or gap: one token a step, centred times, values within the scale."""
    encoder = MelEncoder(
        MelSettings(step=step / 100, width=bins * per_bin / 100, bins=bins, n_mels=20)
    )
    tokens = encoder.encode_sound(sound(seconds, start=start))
    samples = round(seconds * 16000)
    assert tokens.values.shape == (max(1, round(samples / (step * 160))), 1, 20 * bins)
    expected = (
        start + torch.arange(tokens.steps, dtype=torch.float64) * step / 100 + bins * per_bin / 200
    )
    torch.testing.assert_close(tokens.times, expected, rtol=0, atol=1e-9)
    assert float(tokens.values.min()) >= -2.0 and float(tokens.values.max()) < 2.5


def test_levels_are_decibels() -> None:
    """A full-scale sine reads 0 dB in its band, half of it 6 dB less; silence is the floor."""
    encoder = MelEncoder(MelSettings())
    full, half = (
        encoder.encode_sound(sound(1.0, 1000.0, level)).values[1:4].amax() * 20 - 40
        for level in (1.0, 0.5)
    )
    assert float(full) == pytest.approx(0.0, abs=3.0)
    assert float(full - half) == pytest.approx(6.02, abs=0.05)
    assert torch.equal(
        encoder.encode_sound(sound(1.0, level=0.0)).values, torch.full((5, 1, 256), -2.0)
    )


def test_louder_clips_have_larger_tokens() -> None:
    """Nothing is normalised per clip: a louder sound shifts every band above the floor alike."""
    encoder = MelEncoder(MelSettings(floor_db=-200.0))
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.2
    loud, soft = (
        encoder.encode_sound(Sound(noise * gain, 16000, 0.0)).values for gain in (1.0, 0.1)
    )
    torch.testing.assert_close(loud - soft, torch.ones_like(loud), rtol=0, atol=1e-3)


@pytest.mark.parametrize("hertz", [110.0, 440.0, 1760.0, 7000.0])
def test_pitch_is_in_its_band(hertz: float) -> None:
    """The strongest band is the one whose triangle covers the tone."""
    encoder = MelEncoder(MelSettings())
    strongest = int(encoder.encode_sound(sound(1.0, hertz)).values[2, 0, :64].argmax())
    weights = mel_filters(MelSettings())[strongest]
    covered = weights.nonzero() * 8000 / (len(weights) - 1)
    assert float(covered.min()) <= hertz <= float(covered.max())


@pytest.mark.parametrize("n_mels", [8, 40, 64, 128, 256])
def test_no_filter_is_empty(n_mels: int) -> None:
    """Every band hears something; together they cover the range without holes."""
    weights = mel_filters(MelSettings(n_mels=n_mels))
    assert bool((weights.sum(1) > 0).all()) and float(weights.max()) <= 1.0


def test_order_in_time() -> None:
    """Bins of a token are its parts in time: a tone in the second half is in the later bins."""
    encoder = MelEncoder(MelSettings(step=0.4, width=0.4, bins=4))
    wave = torch.cat([torch.zeros(3200), sound(0.2).samples])
    bins = encoder.encode_sound(Sound(wave, 16000, 0.0)).values[0, 0].view(4, 64).amax(1)
    assert bool((bins[:1] < 0).all()) and bool((bins[2:] > 0).all())


def test_independent_of_what_follows() -> None:
    """A token hears no sound more than one STFT window behind its own, so streams work."""
    encoder = MelEncoder(MelSettings())
    long = sound(2.0, 300.0)
    short = Sound(long.samples[:16800], 16000, 0.0)
    assert torch.equal(
        encoder.encode_sound(short).values[:4], encoder.encode_sound(long).values[:4]
    )


def test_fast() -> None:
    """Four seconds of sound cost a few milliseconds of CPU (loose: test machines are busy)."""
    encoder, four = MelEncoder(MelSettings()), sound(4.0)
    encoder.encode_sound(four)
    begin = time.process_time()
    for _ in range(5):
        encoder.encode_sound(four)
    assert (time.process_time() - begin) / 5 < 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"step": 0.015}, "step = 0.015 s must be a multiple of hop"),
        ({"bins": 3}, "width / bins"),
        ({"hop": 0.0101}, "multiple of hop"),
        ({"rate": 11025}, "whole number of samples"),
        ({"window": 0.00001}, "window"),
        ({"f_max": 9000}, "f_max"),
        ({"n_mels": 0}, "n_mels"),
        ({"std_db": 0}, "std_db"),
        ({"nmels": 3}, "did you mean 'n_mels'"),
    ],
)
def test_wrong_settings(wrong: dict[str, float], message: str) -> None:
    """Each says which setting and why."""
    with pytest.raises(ChannelError, match=message):
        make_encoder("audio", "mel", wrong)


def test_wrong_sources() -> None:
    """A list of files, or sound at another rate."""
    encoder = MelEncoder(MelSettings())
    with pytest.raises(ChannelError, match="one file"):
        encoder.encode(["a.mp4", "b.mp4"])
    with pytest.raises(ChannelError, match="16000"):
        encoder.encode_sound(sound(1.0, rate=8000))
