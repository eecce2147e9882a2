"""Sound: levels as asked, events in their place, seeded.

And classes that a linear probe tells apart.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pave_world import Scene, render_sound, sample_scene
from pave_world.sound.midi import Note, midi_bytes
from pave_world.sound.mix import _resample, play
from pave_world.sound.voices import VOICES, phrase


def decibels(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def first_of(mode: str) -> Scene:
    return next(
        scene
        for scene in (sample_scene("audio", "train", index) for index in range(100))
        if scene.mode == mode
    )


def test_midi_file_by_hand() -> None:
    made = midi_bytes([Note(0.0, 0.2, 60, 100)], program=40)
    track = bytes.fromhex("00ff51030f424000c02800903c648148803c0000ff2f00")
    assert made == b"MThd\0\0\0\6\0\0\0\1\x03\xe8MTrk" + len(track).to_bytes(4, "big") + track
    assert b"\x99\x24\x40" in midi_bytes(
        [Note(0, 1, 36, 64)], program=None
    )  # drums play on channel 10


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(VOICES)),
    seed=st.integers(0, 2**32),
    seconds=st.floats(0.3, 8),
    stretch=st.integers(0, 3),
)
def test_phrases_fill_the_time_within_their_range(
    name: str, seed: int, seconds: float, stretch: int
) -> None:
    voice = VOICES[name]
    notes = phrase(voice, seconds, np.random.default_rng(seed), stretch)
    assert notes[0].start == 0 and max(note.start + note.length for note in notes) <= seconds + 1e-6
    assert all(1 <= note.velocity <= 127 and note.length > 0 for note in notes)
    if voice.style != "beat":
        assert all(voice.low - stretch <= note.pitch <= voice.high + stretch for note in notes)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_resampling_keeps_a_tone(rate: int) -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(48000) / 48000).astype(np.float32)
    wanted = np.sin(2 * np.pi * 500 * np.arange(rate) / rate)
    assert np.abs(_resample(tone, rate) - wanted).max() < 1e-3


@pytest.mark.parametrize("name", sorted(VOICES))
def test_every_voice_sounds_at_the_level_asked(name: str) -> None:
    samples = play(name, 1.0, np.random.default_rng(0))
    assert samples.shape == (16000,) and samples.dtype == np.float32
    assert decibels(samples) == pytest.approx(0.0, abs=0.1)


def test_one_sound_has_its_level_and_is_seeded() -> None:
    scene = first_of("one")
    samples = render_sound(scene)
    assert samples.shape == (64000,) and np.abs(samples).max() <= 1
    assert decibels(samples) == pytest.approx(scene.events[0].level, abs=1.5)
    assert np.array_equal(samples, render_sound(scene))
    assert render_sound(scene, rate=24000).shape == (96000,)


def test_a_sequence_is_the_one_then_the_other() -> None:
    scene = first_of("sequence")
    samples, cut = render_sound(scene), round(scene.events[0].end * 16000)
    assert decibels(samples[:cut]) == pytest.approx(scene.events[0].level, abs=1.5)
    assert decibels(samples[cut:]) == pytest.approx(scene.events[1].level, abs=1.5)


def test_visual_scenes_make_no_sound() -> None:
    assert not render_sound(sample_scene("video")).any()


def log_mel_statistics(samples: NDArray[np.float32]) -> torch.Tensor:
    """Mean and deviation over time of 40 log energies, spaced like mel bands."""
    power = (
        torch.stft(
            torch.from_numpy(samples), 512, 320, window=torch.hann_window(512), return_complex=True
        )
        .abs()
        .square()
    )
    edges = 700 * (10 ** (torch.linspace(40, 2800, 42) / 2595) - 1) / 31.25
    bands = [
        power[int(low) : max(int(low) + 1, int(high))].mean(0)
        for low, high in zip(edges[:-2], edges[2:], strict=True)
    ]
    logs = (torch.stack(bands) + 1e-5).log()
    return torch.cat([logs.mean(1), logs.std(1)])


@pytest.mark.slow
def test_a_linear_probe_tells_the_voices_apart() -> None:
    def examples(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        made = [
            (
                log_mel_statistics(play(name, 2.0, np.random.default_rng([seed, label, i])) * 0.1),
                label,
            )
            for label, name in enumerate(VOICES)
            for i in range(count)
        ]
        return torch.stack([values for values, _ in made]), torch.tensor(
            [label for _, label in made]
        )

    torch.manual_seed(0)
    (values, labels), (held_out, truth) = examples(20, 0), examples(8, 1)
    mean, deviation = values.mean(0), values.std(0) + 1e-6
    probe = torch.nn.Linear(values.shape[1], len(VOICES))
    optimiser = torch.optim.AdamW(probe.parameters(), lr=0.02, weight_decay=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(probe((values - mean) / deviation), labels).backward()
        optimiser.step()
    assert (probe((held_out - mean) / deviation).argmax(1) == truth).float().mean() > 0.9
