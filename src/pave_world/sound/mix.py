"""Sound of a scene: each event is a phrase on the sound font, at its level, in faint noise."""

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


Wave = NDArray[np.float32]  # mono samples


def render_sound(scene: Scene, rate: int = 16000) -> Wave:
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
    if not scene.events:
        return np.zeros(total, dtype=np.float32)
    chance = generator(scene.seed, scene.split, scene.index, "noise")
    # In dB of full scale: audible to a detector, not to a person.
    level = chance.uniform(-60.0, -48.0)
    noise = chance.standard_normal(total, dtype=np.float32)
    mixed = noise * _linear(level)
    for number, event in enumerate(scene.events):
        samples = _render_event(scene, event, number, rate)
        start = round(event.start * rate)
        samples = samples[: total - start]  # rounding may put a last sample behind the clip's end
        end = start + len(samples)
        mixed[start:end] += samples
    peak = float(np.abs(mixed).max())
    if peak > _PEAK:
        mixed *= np.float32(_PEAK / peak)
    return mixed


def play(
    name: str,
    duration: float,
    rng: np.random.Generator,
    rate: int = 16000,
    stretch: int = 0,
) -> Wave:
    """Play one thing alone for `duration` seconds at RMS 1 (set the level yourself).

    Raises:
        ConfigError: A wheel of the world is missing.
    """
    voice = VOICES[name]
    notes = phrase(voice, duration, rng, stretch)
    midi = midi_bytes(notes, voice.program)
    tool = import_tool("midirenderer", "midirenderer==0.1.3")
    wav = tool.render_wave_from(sound_font(), midi)
    source = int.from_bytes(wav[24:28], "little")  # the font's own rate, from the RIFF header
    wanted = round(duration * source)  # samples of the font's rate
    stereo = np.frombuffer(wav, dtype="<i2", offset=_WAV_HEAD).reshape(-1, 2)
    mono = stereo[:wanted].mean(axis=1, dtype=np.float32)
    missing = wanted - len(mono)  # the last note may have died away before
    mono = np.pad(mono, (0, missing))
    length = round(duration * rate)
    samples = _unit(_resample(mono, length))
    clipped = np.clip(samples, -_CREST, _CREST)
    return _unit(clipped)


def _render_event(scene: Scene, event: SoundEvent, number: int, rate: int) -> Wave:
    """One event at its level, faded in and out."""
    rng = generator(scene.seed, scene.split, scene.index, "event", part=number)
    stretch = 0
    if scene.unseen:
        stretch = _UNSEEN_STRETCH
    duration = event.end - event.start
    alone = play(event.name, duration, rng, rate, stretch)
    samples = alone * _linear(event.level)
    fade = min(len(samples), round(_FADE * rate))  # samples
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    end = len(samples) - fade
    samples[:fade] *= ramp
    samples[end:] *= ramp[::-1]
    return samples


def _unit(samples: Wave) -> Wave:
    """Scale to RMS 1."""
    power = np.mean(np.square(samples))
    rms = max(1e-6, float(np.sqrt(power)))  # of silence, which cannot be scaled
    return samples / np.float32(rms)


def _linear(decibels: float) -> np.float32:
    """The factor that a level in decibels means."""
    return np.float32(10.0 ** (decibels / 20.0))


def _resample(samples: Wave, length: int) -> Wave:
    """Band-limited resampling of a whole signal by cutting (or padding) its spectrum."""
    spectrum = np.fft.rfft(samples)
    kept = spectrum[: length // 2 + 1]
    gain = length / max(1, len(samples))  # the transform's sums grow with the length
    found = np.fft.irfft(kept, length) * gain
    return np.asarray(found, dtype=np.float32)
