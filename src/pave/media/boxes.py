"""Where an MP4 or MOV file ends by its own structure: a walk over its outermost boxes.

Nobody knows all boxes. One of an unknown name is stepped over where it fits into the file, and is
no promise where it does not: it may be rubbish behind the end.
"""

from __future__ import annotations

from typing import BinaryIO

# Boxes of ISO/IEC 14496-12, of DASH and of QuickTime that stand at the top of a file.
BOXES = {
    b"ftyp",
    b"moov",
    b"mdat",
    b"moof",
    b"mfra",
    b"sidx",
    b"ssix",
    b"styp",
    b"emsg",
    b"prft",
    b"uuid",
    b"meta",
    b"meco",
    b"udta",
    b"pdin",
    b"pnot",
    b"imda",
}
# Nothing is lost with these: a file that is cut inside its last padding is whole.
PADDING = {b"free", b"skip", b"wide"}
MEDIA = {b"mdat", b"moof", b"imda"}
LARGEST_HEAD = 16  # length (4 bytes), name (4), and the long length (8) where it is used


def begins_with_box(head: bytes) -> bool:
    """Whether the first eight bytes of a file are those of an MP4 or MOV file."""
    return head[4:8] in BOXES | PADDING


def boxes_end(stream: BinaryIO, size: int) -> int:
    """Where the file should end at least, as far as its boxes can be followed.

    Args:
        stream: The file, open for reading.
        size: Its bytes.

    Returns:
        Bytes; more than `size` if some are missing for certain.
    """
    end = 0
    kinds = set()
    while end + 8 <= size:
        stream.seek(end)
        name, length = _box(stream.read(LARGEST_HEAD), size - end)
        known = name in BOXES
        if length < 8 or (end + length > size and not known):
            return end  # rubbish or padding: whatever stands behind it, nothing is promised
        kinds.add(name)
        end += length
    if b"moov" in kinds and not kinds & MEDIA:
        # An index without any media, and no room for a box that may hold it: cut between the two.
        return max(end, size) + 1
    return end


def _box(head: bytes, room: int) -> tuple[bytes, int]:
    """Name and length of a box; a known one of length 0 goes on to the end of the file."""
    name, length = head[4:8], int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
        if length < LARGEST_HEAD or len(head) < LARGEST_HEAD:
            length = 0
    elif length == 0 and name in BOXES | PADDING:
        length = room
    return name, length
