"""Writes the few bytes of a one-track Standard MIDI File: notes in, bytes out.

Source: the Standard MIDI Files 1.0 specification; only what a synthesiser needs to play one
instrument.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

# Ticks per quarter note. A quarter note is one second here, so that a tick is a millisecond.
_TICKS = 1000
_DRUM_CHANNEL = 9  # counted from 0: General MIDI's channel 10
# The upper half of a message's first byte; the lower half is the channel.
_NOTE_OFF, _NOTE_ON, _PROGRAM = 0x80, 0x90, 0xC0


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
    channel = 0
    if program is None:
        channel = _DRUM_CHANNEL
    # At one tick, a note that ends (0) sorts before one that begins (1).
    events: list[tuple[int, int, bytes]] = []
    for note in notes:
        begins = bytes([_NOTE_ON | channel, note.pitch, note.velocity])
        ends = bytes([_NOTE_OFF | channel, note.pitch, 0])
        events.append((_tick(note.start), 1, begins))
        events.append((_tick(note.start + note.length), 0, ends))
    track = bytearray()
    track += b"\x00\xff\x51\x03"  # tempo, in
    track += (1_000_000).to_bytes(3, "big")  # microseconds per quarter note
    if program is not None:
        track += bytes([0, _PROGRAM | channel, program])
    now = 0
    for tick, _, message in sorted(events):
        track += _variable_length(tick - now)
        track += message
        now = tick
    track += b"\x00\xff\x2f\x00"  # end of track
    # Six bytes of header: format 0, one track, ticks per quarter note.
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS)
    track_head = struct.pack(">4sI", b"MTrk", len(track))
    return head + track_head + bytes(track)


def _tick(seconds: float) -> int:
    return max(0, round(seconds * _TICKS))


def _variable_length(number: int) -> bytes:
    """MIDI's number format: 7 bits per byte, the high bit set on all but the last."""
    last = number & 0x7F
    backwards = [last]
    while number := number >> 7:
        lowest = number & 0x7F
        backwards.append(lowest | 0x80)
    return bytes(reversed(backwards))
