"""Writes the few bytes of a one-track Standard MIDI File: notes in, bytes out.

Source: the Standard MIDI Files 1.0 specification; only what a synthesiser needs to play one
instrument.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

_TICKS = 1000  # ticks a quarter note; with a tempo of 1 s a quarter note a tick is a millisecond
_DRUM_CHANNEL = 9


@dataclass(frozen=True)
class Note:
    """One note: start and length in seconds, MIDI pitch 0..127, velocity 1..127."""

    start: float
    length: float
    pitch: int
    velocity: int


def midi_bytes(notes: Iterable[Note], program: int | None) -> bytes:
    """A MIDI file that plays the notes with one instrument.

    Args:
        notes: The notes, in any order.
        program: General-MIDI program 0..127, or None for the drum kit (channel 10, the pitch is the
            drum).

    Example:
        >>> midi_bytes([Note(0.0, 0.5, 60, 100)], program=0)[:4]
        b'MThd'
    """
    # Counted from 0: drums are General MIDI's channel 10.
    channel = _DRUM_CHANNEL if program is None else 0
    events: list[tuple[int, int, bytes]] = []
    for note in notes:
        # Note on is 0x9n, note off 0x8n; at one tick the off (0) sorts before the on (1).
        events.append((_ms(note.start), 1, bytes([0x90 | channel, note.pitch, note.velocity])))
        events.append((_ms(note.start + note.length), 0, bytes([0x80 | channel, note.pitch, 0])))
    track = bytearray()
    track += b"\x00\xff\x51\x03"  # tempo, in
    track += (1_000_000).to_bytes(3, "big")  # microseconds a quarter note
    if program is not None:
        track += bytes([0x00, 0xC0 | channel, program])
    now = 0
    for tick, _, message in sorted(events):
        track += _variable_length(tick - now)
        track += message
        now = tick
    track += b"\x00\xff\x2f\x00"  # end of track
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS)  # 6 bytes: format 0, one track, ticks
    return head + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * _TICKS))


def _variable_length(number: int) -> bytes:
    """MIDI's number format: 7 bits a byte, the high bit set on all but the last."""
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(number & 0x7F | 0x80)
    return bytes(reversed(out))
