"""What a file's packets say, without decoding: a table of them, all on one clock.

Transport streams are cut together, and a sender that restarts counts from anywhere. FFmpeg's own
programs close such a jump, with the limits below; the library that we use hands it on, and what
follows would stand hours away. All tracks move together, so that sound stays with its picture.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

from pave.media.container import MediaFile

logger = logging.getLogger(__name__)

Ticks = npt.NDArray[np.int64]  # of a track's time base
Seconds = npt.NDArray[np.float64]
Flagged = npt.NDArray[np.bool_]

# As in FFmpeg's programs. A step back that is smaller is an encoder's rounding.
AHEAD_SECONDS = 10
BACK_SECONDS = 0.1

NO_TIME = -(1 << 63)  # as FFmpeg writes "no timestamp"


@dataclass(frozen=True)
class Packets:
    """A row for every packet of the picture and of the sound that is heard, in the file's order.

    Attributes:
        tracks: `[N]` number of each packet's track.
        pts: `[N]` when it is shown, on one clock; `NO_TIME` where the file does not tell.
        durations: `[N]` ticks.
        keys: `[N]` whether decoding can begin here.
        hidden: `[N]` whether it is decoded and never shown, as an edit list may say.
        full: `[N]` whether it holds anything.
        moved: `[N]` ticks between `pts` and what the file says; 0 where its clock never jumps.
        first: When the first picture is shown that the decoder gives, ticks; None if none is.
        damage: What the decoder said before that, if it said so.
    """

    tracks: Ticks
    pts: Ticks
    durations: Ticks
    keys: Flagged
    hidden: Flagged
    full: Flagged
    moved: Ticks
    first: int | None
    damage: Exception | None

    def moves(self, stream: Stream) -> Iterable[int]:
        """For each packet of a track, read from the first on, the ticks by which to `move` it."""
        if not self.moved.any():
            return repeat(0)
        moves: list[int] = self.moved[self.tracks == stream.index].tolist()
        return moves


def move(packet: Packet[Any], ticks: int) -> None:
    """Put a packet on the file's one clock."""
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks


def read_packets(media: MediaFile) -> Packets:
    """Read all packets, and decode up to the first picture; the file is at its end then.

    Args:
        media: At its first packet.
    """
    numbers = array("q")  # 56 bytes a packet, where lists of numbers would take hundreds
    first: int | None = None
    damage: Exception | None = None
    picture = media.picture
    # Both share a clock.
    tracks = [stream for stream in (picture, media.sound) if stream is not None]
    for packet in media.container.demux(*tracks):
        # Not `packet.stream_index`: it is wrong in the packets that flush a decoder.
        stream = packet.stream
        pts = packet.pts
        dts = packet.dts
        size = packet.size
        # Theora and Flash have empty packets that mean "the same again", which PyAV would take for
        # the end. At the end itself a packet has no time either.
        if picture is stream and first is None and (size or pts is None):
            # A film cut inside an open group begins with frames that the decoder never gives.
            try:
                first = next((frame.pts for frame in picture.decode(packet)), None)
            except (FFmpegError, AttributeError) as error:  # damaged, or without a decoder
                damage = damage or error
                if packet.is_keyframe:
                    first = pts
        if pts is None:
            pts = NO_TIME
        if dts is None:
            dts = NO_TIME
        numbers.extend((stream.index, pts, dts, packet.duration or 0))
        numbers.extend((size, packet.is_keyframe, packet.is_discard))
    return _on_one_clock(media, np.frombuffer(numbers, dtype=np.int64), first, damage)


def _on_one_clock(
    media: MediaFile, numbers: Ticks, first: int | None, damage: Exception | None
) -> Packets:
    """Mend the clock, where it starts anew or jumps.

    Args:
        media: The file.
        numbers: `[N * 7]` track, pts, dts, duration, bytes, is it a key, is it hidden.
        first: When the first picture is shown, by the file's own clock.
        damage: In front of that.
    """
    columns = numbers.reshape(-1, 7).T
    tracks, pts, dts, durations = columns[:4]
    full, keys, hidden = columns[4:] > 0
    bases = np.array([float(stream.time_base or 1) for stream in media.container.streams])
    seconds = bases[tracks]  # [N] of a tick
    stands = np.where(full & (dts != NO_TIME), dts * seconds, np.nan)
    picture = -1
    if media.picture is not None:
        picture = media.picture.index
    # Elsewhere a step ahead is meant: a camera that takes one picture an hour.
    ahead = np.inf
    if Flags.ts_discont in media.flags:
        ahead = AHEAD_SECONDS
    jumps = np.zeros(len(tracks))
    for track in np.unique(tracks):
        told = (tracks == track) & ~np.isnan(stands)
        steps = np.diff(stands[told])
        # Looked at all at once: only few files need what takes a microsecond a packet.
        if (steps < -BACK_SECONDS).any() or (steps > ahead).any():
            jumps = find_jumps(tracks, stands, durations * seconds, picture, ahead)
    if jumps.any():
        _tell(media.name)
    moved = np.rint(np.cumsum(jumps) / seconds).astype(np.int64)
    if first is not None:
        at_first = np.flatnonzero((tracks == picture) & (pts == first))
        first += int(moved[at_first[:1]].sum())
    on_one_clock = np.where(pts == NO_TIME, NO_TIME, pts + moved)
    return Packets(tracks, on_one_clock, durations, keys, hidden, full, moved, first, damage)


def find_jumps(
    tracks: Ticks, stands: Seconds, lengths: Seconds, picture: int, ahead: float
) -> Seconds:
    """Where a clock starts anew or jumps.

    Args:
        tracks: `[N]` number of each packet's track, in the file's order.
        stands: `[N]` when it is decoded, s; not a number where the file does not tell. These only
            go forward in a sound file, times of display do not.
        lengths: `[N]` how long it lasts, s.
        picture: Number of the picture track.
        ahead: Seconds from which on a step ahead is a jump.

    Returns:
        `[N]` s, by which this packet and all behind it are moved; 0 nearly everywhere.

    Example:
        >>> one_track, stands = np.zeros(4, np.int64), np.array([7.0, 8.0, 0.0, 1.0])
        >>> find_jumps(one_track, stands, np.ones(4), picture=0, ahead=10).tolist()
        [0.0, 0.0, 9.0, 0.0]
    """
    jumps = np.zeros(len(tracks))
    rows = np.flatnonzero(~np.isnan(stands))
    offset = 0.0  # s, added to what the file says
    last: dict[int, float] = {}  # s, of each track's newest packet
    length_of: dict[int, float] = {}  # s, from that packet to its successor, as expected
    for row in rows.tolist():
        track = int(tracks[row])
        now = float(stands[row]) + offset
        length = float(lengths[row])
        before = last.get(track)
        if before is not None:
            # A hole in one track is no jump while the others go on.
            if now < before - BACK_SECONDS or now > max(last.values()) + ahead:
                expected = before + length_of[track]
                jumps[row] = expected - now
                offset += expected - now
                now = expected
            # What a packet of a picture says of its duration is often a guess, or that of a field.
            if track == picture:
                length = now - before
        last[track] = now
        length_of[track] = length
    return jumps


@lru_cache(maxsize=1000)
def _tell(name: str) -> None:
    """Say it once of a file, which is read several times."""
    logger.warning(
        "%s: the clock of the file jumps; the next part is placed after the previous one", name
    )
