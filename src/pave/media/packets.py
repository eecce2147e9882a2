"""What a file's packets say, without decoding: a table of them, all on one clock.

Transport streams are cut together, and a sender that restarts counts from anywhere. FFmpeg's own
programs close such a jump, with the limits below; the library that we use hands it on, and what
follows would stand hours away. All tracks move together, so that sound stays with its picture.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
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

# Containers that keep times of decoding only, which FFmpeg hands on as times of display.
_IN_ORDER_OF_DECODING = {"avi"}
_COLUMNS = 7  # numbers that are kept of a packet
_MOST_REORDERED = 16  # pictures that may overtake another one, in every codec


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
        first: When the first picture is shown that the decoder gives, ticks; None if none is. In an
            AVI this may be later than the timestamp that the picture carries.
        damage: What the decoder said before that, if it said so.
        late: Ticks by which all pictures stand later than the film means them, beside its sound.
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
    late: int = 0

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
    shown: list[int] = []  # ticks of the first pictures, in order of display
    wanted = 1
    if media.container.format.name in _IN_ORDER_OF_DECODING:
        wanted += _MOST_REORDERED  # `_by_decoding` looks for those that were decoded first
    damage: Exception | None = None
    begun = False  # a picture came that needs no other one
    picture = media.picture
    # Both share a clock.
    tracks = [stream for stream in (picture, media.sound) if stream is not None]
    for packet in media.packets(*tracks):
        # Not `packet.stream_index`: it is wrong in the packets that flush a decoder.
        stream = packet.stream
        pts = packet.pts
        dts = packet.dts
        size = packet.size
        # Theora and Flash have empty packets that mean "the same again", which PyAV would take for
        # the end. At the end itself a packet has no time either.
        if picture is stream and len(shown) < wanted and (size or pts is None):
            # A film cut inside an open group begins with frames that the decoder never gives, and
            # one cut inside any group with some that it cannot decode.
            begun = begun or packet.is_keyframe
            try:
                pictures = picture.decode(packet)
                shown.extend(frame.pts for frame in pictures if frame.pts is not None)
            except (FFmpegError, AttributeError) as error:  # damaged, or without a decoder
                if not shown and (begun or picture.codec_context is None):
                    damage = damage or error
                    if packet.is_keyframe and pts is not None:
                        shown.append(pts)
        if pts is None:
            pts = NO_TIME
        if dts is None:
            dts = NO_TIME
        numbers.extend((stream.index, pts, dts, packet.duration or 0))
        numbers.extend((size, packet.is_keyframe, packet.is_discard))
    rows = np.frombuffer(numbers, dtype=np.int64)
    packets = _on_one_clock(media, rows, next(iter(shown), None), damage)
    if picture is None or wanted == 1:
        return packets
    full = (packets.tracks == picture.index) & packets.full
    decoded = rows[2::_COLUMNS][full] + packets.moved[full]
    return _by_decoding(packets, full, decoded, shown)


def _by_decoding(packets: Packets, full: Flagged, decoded: Ticks, shown: list[int]) -> Packets:
    """Set right the first picture of a film whose times are those of decoding.

    A film that was cut inside an open group begins with a key picture, then come pictures that need
    one in front of it. They are lost, but the moments at which they would be shown pass. In order
    of decoding these moments are behind the key picture's own.

    FFmpeg delays what it makes times of display for, as if the decoder's delay were part of the
    film. Programs that write such files let picture and sound begin together.

    Args:
        packets: All packets.
        full: `[N]` those of the picture track.
        decoded: `[P]` ticks at which these are decoded.
        shown: Ticks of the first pictures that the decoder gives, as the file has them.
    """
    stamps = packets.pts[full]  # [P]
    if packets.first is None or NO_TIME in stamps or NO_TIME in decoded:
        return packets
    given = np.isin(stamps - packets.moved[full], shown)
    begin = int(np.argmax(given))  # the key picture
    next_given = np.flatnonzero(given[begin + 1 :])
    lost = 0
    if len(next_given):
        lost = int(next_given[0])
    # Where FFmpeg did work out times of display (MPEG-2), theirs are the lower ones already.
    behind = int(stamps[begin : begin + lost + 1].max())
    late = int(np.median(np.sort(stamps) - np.sort(decoded)))
    return replace(packets, first=max(packets.first, behind), late=late)


def _on_one_clock(
    media: MediaFile, numbers: Ticks, first: int | None, damage: Exception | None
) -> Packets:
    """Mend the clock, where it starts anew or jumps.

    Args:
        media: The file.
        numbers: `[N * _COLUMNS]` track, pts, dts, duration, bytes, is it a key, is it hidden.
        first: When the first picture is shown, by the file's own clock.
        damage: In front of that.
    """
    columns = numbers.reshape(-1, _COLUMNS).T
    tracks, pts, dts, durations = columns[:4]
    full, keys, hidden = columns[4:] > 0
    bases = np.array([float(stream.time_base or 1) for stream in media.container.streams])
    seconds = bases[tracks]  # [N] of a tick
    stands = np.where(full & (dts != NO_TIME), dts * seconds, np.nan)
    # An edit list that takes several parts of a film has FFmpeg decode some pictures again, at
    # earlier times, and not show them. Its times of display are right then.
    stands[np.isin(tracks, tracks[hidden])] = np.nan
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
        "%s: the timestamps of the file jump; the next part is placed right after the previous one",
        name,
    )
