"""One clock for all tracks of a file, also where the recorder's own started anew or jumped.

Transport streams are cut together, and a sender that restarts counts from anywhere. FFmpeg's own
programs close such a jump, with the limits below; the library that we use hands it on, and what
follows would stand hours away. All tracks move together, so that sound stays with its picture.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

from pave.media.container import has_flag, sound_stream

logger = logging.getLogger(__name__)

# As in FFmpeg's programs. A step back that is smaller is an encoder's rounding.
AHEAD_SECONDS = 10
BACK_SECONDS = 0.1


class Clock:
    """Gives packets in the file's order, their timestamps on one clock.

    Attributes:
        jumps: How often the clock was found to jump so far.

    Example:
        >>> clock = Clock(container)  # doctest: +SKIP
        >>> for packet in clock.packets(picture, sound): ...  # doctest: +SKIP
    """

    def __init__(self, container: InputContainer) -> None:
        """A clock for one reading of a file, from its beginning or from a key frame."""
        self.jumps = 0
        self._container = container
        # Elsewhere a step ahead is meant: a camera that takes one picture an hour.
        self._may_jump = has_flag(container, Flags.ts_discont)
        self._offset = 0.0  # s, added to what the file says
        self._ticks: dict[int, float] = {}  # s, of each track's time base
        self._last: dict[int, float] = {}  # s, of each track's newest packet
        self._step: dict[int, float] = {}  # s, from that packet to its successor, as expected

    def packets(self, *streams: Stream) -> Iterator[Packet[Stream]]:
        """The packets of these tracks; give picture and sound, even if you want but one of them.

        Both readers then see the same jumps and move by the same seconds.
        """
        for packet in self._container.demux(*streams):
            if packet.dts is not None and packet.size:
                self._move(packet)
            yield packet

    def _move(self, packet: Packet[Stream]) -> None:
        """Put a packet on the clock."""
        track = packet.stream.index
        base = self._ticks.get(track)
        if base is None:  # once a track: a fraction a packet would cost more than the packet
            base = self._ticks[track] = float(packet.time_base)
        # Times of decoding only go forward in a sound file, those of display do not.
        stands = (packet.dts or 0) * base + self._offset
        if track in self._last and self._jumps(stands, track):
            expected = self._last[track] + self._step[track]
            self._offset += expected - stands
            stands = expected
            self.jumps += 1
            _tell(self._container.name)
        # What a packet of a picture says of its duration is often a guess, or that of a field.
        step = (packet.duration or 0) * base
        if packet.stream.type == "video" and track in self._last:
            step = stands - self._last[track]
        self._last[track], self._step[track] = stands, step
        if self._offset:
            ticks = round(self._offset / base)
            packet.dts = (packet.dts or 0) + ticks
            if packet.pts is not None:
                packet.pts += ticks

    def _jumps(self, stands: float, track: int) -> bool:
        """Whether a packet is on another clock than those before it."""
        if stands < self._last[track] - BACK_SECONDS:
            return True
        # A hole in one track is no jump while the others go on.
        return self._may_jump and stands > max(self._last.values()) + AHEAD_SECONDS


def tracks(container: InputContainer, picture: Stream | None) -> list[Stream]:
    """Picture and sound that is heard, as far as they are there: those that share a clock."""
    found = (picture, sound_stream(container))
    return [stream for stream in found if stream is not None]


@lru_cache(maxsize=1000)
def _tell(name: str) -> None:
    """Say it once of a file, which is read several times."""
    logger.warning(
        "%s: its clock jumps; what follows is put behind what came before",
        name.removeprefix("file:"),
    )
