"""Sound of a scene: each event is a phrase played on the sound font, set to its level in dB.

Faint noise is mixed in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pave_world.assets import import_tool, sound_font
from pave_world.scenes.scene import Scene, SoundEvent
from pave_world.scenes.seeds import generator
from pave_world.sound.midi import midi_bytes
from pave_world.sound.voices import VOICES, phrase

_FADE = 0.03  # seconds at both ends of an event, so that it does not click
_PEAK = 0.98  # loudest sample of a mix; encoders overshoot a little
# Some recordings of the font click at 30 times their RMS; cut, so that dB mean loudness.
_CREST = 6.0
_UNSEEN_STRETCH = 3  # semitones beyond the range of training
_WAV_HEAD = 44  # bytes before the samples of a plain RIFF file


def render_sound(scene: Scene, rate: int = 16000) -> NDArray[np.float32]:
    """Play a scene.

    Args:
        scene: The scene; a visual one is silent.
        rate: Samples a second.

    Returns:
        Mono samples ``[round(duration * rate)]`` within -1..1.

    Raises:
        ConfigError: A wheel of the world is missing.
    """
    total = round(scene.duration * rate)
    noise = generator(scene.seed, scene.split, scene.index, "noise")
    # DB below full scale: audible to a detector, not to a person.
    level = float(noise.uniform(-60.0, -48.0))
    mixed = noise.standard_normal(total, dtype=np.float32) * np.float32(_linear(level))
    if not scene.events:
        mixed[:] = 0.0
    for number, event in enumerate(scene.events):
        samples = _render_event(scene, event, number, rate)
        start = round(event.start * rate)
        samples = samples[: total - start]  # rounding may put a last sample behind the clip's end
        mixed[start : start + len(samples)] += samples
    peak = float(np.abs(mixed).max(initial=0.0))
    return mixed * np.float32(_PEAK / peak) if peak > _PEAK else mixed


def play(
    name: str, duration: float, rng: np.random.Generator, rate: int = 16000, stretch: int = 0
) -> NDArray[np.float32]:
    """Play one thing alone for `duration` seconds at RMS 1 (set the level yourself).

    Raises:
        ConfigError: A wheel of the world is missing.
    """
    voice = VOICES[name]
    tool = import_tool("midirenderer", "midirenderer==0.1.3")
    wav = tool.render_wave_from(
        sound_font(), midi_bytes(phrase(voice, duration, rng, stretch), voice.program)
    )
    stereo = np.frombuffer(wav, dtype="<i2", offset=_WAV_HEAD).reshape(-1, 2)
    source = int.from_bytes(wav[24:28], "little")  # the font's own rate, from the RIFF header
    mono = stereo[: round(duration * source)].mean(axis=1, dtype=np.float32)
    mono = np.pad(mono, (0, max(0, round(duration * source) - len(mono))))
    samples = _unit(_resample(mono, round(duration * rate)))
    return _unit(np.clip(samples, -_CREST, _CREST))


def _render_event(scene: Scene, event: SoundEvent, number: int, rate: int) -> NDArray[np.float32]:
    rng = generator(scene.seed, scene.split, scene.index, "event", part=number)
    stretch = _UNSEEN_STRETCH if scene.unseen else 0
    samples = play(event.name, event.end - event.start, rng, rate, stretch) * np.float32(
        _linear(event.level)
    )
    ramp = np.linspace(0.0, 1.0, min(len(samples), round(_FADE * rate)), dtype=np.float32)
    samples[: len(ramp)] *= ramp
    samples[len(samples) - len(ramp) :] *= ramp[::-1]
    return samples


def _unit(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale to RMS 1."""
    return samples / np.float32(max(1e-6, float(np.sqrt(np.mean(np.square(samples))))))


def _linear(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))


def _resample(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Band-limited resampling of a whole signal by cutting (or padding) its spectrum."""
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    scaled = np.fft.irfft(spectrum, length) * (length / max(1, len(samples)))
    return np.asarray(scaled, dtype=np.float32)
