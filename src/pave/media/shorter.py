"""Telling that a file may be cut, where nothing proves it: a line in the log, once a file.

FLAC, MP3, Flash, ASF and others note how long they are in seconds. Tools that copy a part of such a
file leave the old number in it, so less than that is no reason to refuse a file. Ogg notes nothing,
and marks its last page; who records a broadcast may not come so far.
"""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.format import Flags

from pave.media.container import MediaFile
from pave.media.formats import NO_LENGTH
from pave.media.packets import NO_TIME, Packets

logger = logging.getLogger(__name__)

# Less than this many seconds, or than this share, is rounding, padding or a last frame's length.
_SECONDS, _SHARE = 0.5, 0.05
# Bits a second below which a length is a placeholder, which a writer into a pipe left.
_FEWEST_BITS = 100
# Their lengths in bytes have been compared already (`pave.media.whole`).
_COMPARED = {"mov,mp4,m4a,3gp,3g2,mj2", "wav", "avi", "aiff", "au", "caf", "sox", "w64"}
# The longest page of Ogg: 27 bytes, 255 lengths, and 255 times 255 bytes.
_PAGE = 27 + 255 + 255 * 255
_LAST = 4  # the bit of a page that is its stream's last one


def tell_if_short(media: MediaFile, packets: Packets) -> None:
    """Log that a file holds less than its header says, or that its end is missing.

    Args:
        media: The file, read to its end.
        packets: Of its picture and its sound.
    """
    kind = media.container.format.name
    if kind == "ogg" and not ends_marked(Path(media.file)):
        _tell_of_end(media.name)
    # Tracks that are not read may be the longest.
    tracks = len(np.unique(packets.tracks))
    if kind in _COMPARED or len(media.container.streams) > tracks or _guessed(media):
        return
    declared = (media.container.duration or 0) / av.time_base  # microseconds -> s
    if 8 * Path(media.file).stat().st_size < _FEWEST_BITS * declared:
        return
    found = _seconds(media, packets)
    if declared - found > max(_SECONDS, _SHARE * declared):
        _tell_of_seconds(
            media.name,
            f"{declared:.1f}",
            f"{found:.1f}",
        )


def _guessed(media: MediaFile) -> bool:
    """Whether FFmpeg made up the length: from timestamps that may jump, or from a bit rate."""
    if media.flags & (Flags.ts_discont | Flags.no_timestamps):
        return True
    if media.container.format.name == "mp3":
        return not _counts_frames(Path(media.file))
    return media.container.format.name in NO_LENGTH


def _counts_frames(file: Path) -> bool:
    """Whether an MP3 begins with a frame that tells how many there are."""
    with file.open("rb") as stream:
        head = stream.read(10)
        if head[:3] == b"ID3":  # its length: four times seven bits
            length = 0
            for byte in head[6:]:
                length <<= 7
                length += byte & 0x7F
            stream.seek(10 + length)
        else:
            stream.seek(0)
        first = stream.read(256)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def _seconds(media: MediaFile, packets: Packets) -> float:
    """How far the packets reach, from the first one or from 0: headers count from either."""
    begin, end = 0.0, 0.0
    for stream in media.container.streams:
        mine = (packets.tracks == stream.index) & packets.full
        timed = mine & (packets.pts != NO_TIME)
        if not timed.any():
            return math.inf  # nothing can be said
        tick = float(stream.time_base or 1)  # s
        times = packets.pts[timed]
        begin = min(begin, times.min() * tick)
        end = max(end, (times + packets.durations[timed]).max() * tick)
    return end - begin


def ends_marked(file: Path) -> bool:
    """Whether the last page of an Ogg file is whole, and the last one of its stream.

    Source:
        RFC 3533, section 6.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - 2 * _PAGE))
        tail = stream.read()
    at = tail.rfind(b"OggS\0")
    if at < 0:
        return True  # something else stands behind it, and nothing is known
    page = tail[at:]
    if len(page) < 27:
        return False
    count = page[26]
    lengths = page[27 : 27 + count]
    end = 27 + count + sum(lengths)
    if len(lengths) < count or end > len(page):
        return False
    return bool(page[5] & _LAST)


@lru_cache(maxsize=1000)
def _tell_of_seconds(name: str, declared: str, found: str) -> None:
    """Say it once of a file, which is read several times."""
    logger.warning(
        "%s: declares %s seconds, but only %s are there; it may be cut off",
        name,
        declared,
        found,
    )


@lru_cache(maxsize=1000)
def _tell_of_end(name: str) -> None:
    """Say it once of a file, which is read several times."""
    logger.warning("%s: the mark of its end is missing; it may be cut off", name)
