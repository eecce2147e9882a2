"""How each sounding thing plays: a General-MIDI program, a pitch range, and a style.

Pitch, rhythm, tempo and velocity vary from clip to clip, so that a listener has to learn the timbre
and not a recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from pave_world.sound.midi import Note

Style = Literal["melody", "chords", "beat", "strikes", "held", "calls"]

_SCALE = (0, 2, 4, 5, 7, 9, 11)  # semitones of a major scale
_SOUNDING = 0.95  # share of a note's length that it sounds: notes all but touch,
_CALLING = 0.7  # and calls have gaps between them
_DRUMS = (36, 38, 41, 45, 48)  # General MIDI: bass drum, snare, low and mid toms


@dataclass(frozen=True)
class Voice:
    """How a thing plays.

    Attributes:
        program: General-MIDI program; None for the drum kit.
        low: Lowest root, as a MIDI pitch.
        high: Highest root.
        style: What a phrase is made of.
        shortest: Shortest note in seconds.
        longest: Longest note in seconds.
    """

    program: int | None
    low: int
    high: int
    style: Style
    shortest: float
    longest: float


VOICES: Mapping[str, Voice] = MappingProxyType(
    {
        "piano": Voice(0, 48, 72, "chords", 0.25, 0.6),
        "guitar": Voice(25, 45, 64, "melody", 0.18, 0.4),
        "violin": Voice(40, 60, 84, "melody", 0.35, 0.9),
        "trumpet": Voice(56, 58, 78, "melody", 0.2, 0.5),
        "flute": Voice(73, 67, 88, "melody", 0.3, 0.7),
        "accordion": Voice(21, 55, 74, "chords", 0.35, 0.8),
        "drum": Voice(None, 0, 0, "beat", 0.15, 0.3),
        "bell": Voice(14, 60, 79, "strikes", 0.6, 1.2),
        "bird": Voice(123, 60, 78, "calls", 0.3, 0.8),
        "helicopter": Voice(125, 54, 66, "held", 4.0, 8.0),
        "phone": Voice(124, 60, 76, "calls", 0.7, 1.3),
        "harp": Voice(46, 55, 79, "melody", 0.1, 0.2),
    }
)
"""Name -> voice, for every sounding name of the catalogue."""


def phrase(voice: Voice, duration: float, rng: np.random.Generator, stretch: int = 0) -> list[Note]:
    """Make up a phrase that fills `duration` seconds.

    Args:
        voice: Who plays.
        duration: Length in seconds.
        rng: Where pitch, rhythm and velocity come from.
        stretch: Semitones added to the pitch range at both ends (test scenes play where training
            never did).
    """
    low = voice.low - stretch
    high = voice.high + stretch
    root = int(rng.integers(low, high + 1))
    tempo = float(rng.uniform(0.8, 1.25))  # one factor for the whole phrase
    step = int(rng.integers(len(_SCALE)))
    notes: list[Note] = []
    now = 0.0
    while now < duration:
        length = float(rng.uniform(voice.shortest, voice.longest)) * tempo
        step += int(rng.integers(-2, 3))  # a melody walks by at most two degrees
        velocity = int(rng.integers(70, 116))
        pitches = _pitches(voice, root, step, low=low, high=high, rng=rng)
        share = _SOUNDING
        if voice.style == "calls":
            share = _CALLING
        sounding = min(length * share, duration - now)
        notes += [Note(now, sounding, pitch, velocity) for pitch in pitches]
        now += length
    return notes


def _pitches(
    voice: Voice, root: int, step: int, *, low: int, high: int, rng: np.random.Generator
) -> list[int]:
    """What sounds at once: a drum, the root, or the scale's step alone or with a triad on it."""
    if voice.style == "beat":
        return [int(rng.choice(_DRUMS))]
    if voice.style in ("held", "strikes", "calls"):
        return [root]
    degrees = [step]
    if voice.style == "chords":  # a triad
        degrees += [step + 2, step + 4]
    folded = set()  # two degrees may fold onto one pitch
    for degree in degrees:
        pitch = root + _scale_pitch(degree)
        folded.add(_fold(pitch, low, high))
    return sorted(folded)


def _scale_pitch(degree: int) -> int:
    """Semitones from the root to a step of the scale, which goes on beyond its octave."""
    octave, step = divmod(degree, len(_SCALE))
    return 12 * octave + _SCALE[step]


def _fold(pitch: int, low: int, high: int) -> int:
    """Bring a pitch into the range by octaves (clipped where it is narrower than one)."""
    while pitch > high and pitch - 12 >= low:
        pitch -= 12
    while pitch < low and pitch + 12 <= high:
        pitch += 12
    return min(max(pitch, low), high)
