"""Is a file whole? FFmpeg reads a truncated one without complaint: fewer frames, less sound.

The containers that most clips come in say in their first bytes how long they are: MP4 and MOV
boxes, the Matroska and WebM segment, the RIFF chunk of AVI and WAV. Comparing that with the file's
size finds a missing last byte, costs nothing, and has no tolerance to tune. MPEG-TS, MP3 and Ogg
declare no length: a shorter file of those is a shorter clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer

from pave.errors import MediaError
from pave.media import riff

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
# Names of Matroska's header and of its segment, RFC 8794 and RFC 9559.
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def must_be_whole(file: Path) -> bool:
    """Refuse a file that is shorter than it declares itself.

    Args:
        file: An existing file of any kind.

    Returns:
        Whether it is a WAV whose writer left the length out: FFmpeg must be told so.

    Raises:
        MediaError: If the file is empty, bytes are missing, or it cannot be read.
    """
    size = file.stat().st_size
    if size == 0:
        raise MediaError(f"{file}: the file is empty (0 bytes); copy it again")
    declared = 0  # where the file should end by its own structure; 0 if it has none that we know
    uncounted = False
    try:
        with file.open("rb") as stream:
            head = stream.read(12)
            if head[4:8] in BOXES | PADDING:
                declared = _boxes_end(stream, size)
            elif head[:4] == EBML:
                declared = _segment_end(stream)
            elif head[:4] in riff.NAMES and head[8:12] in riff.KINDS:
                declared, uncounted = riff.riff_end(stream, size)
    except OSError as error:
        raise MediaError(
            f"{file}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if declared > size:
        raise MediaError(
            f"{file}: truncated: it declares at least {declared} bytes, but only {size} are "
            "there; copy it again"
        )
    return uncounted


def must_hold_samples(file: Path, container: InputContainer) -> None:
    """Refuse an MP4 whose index leads behind the end of the file.

    Its boxes do not show that if the last one has no length and goes on "to the end".

    Raises:
        MediaError: If the last sample of a track is not all there.
    """
    if "mp4" not in container.format.name.split(","):
        return
    size = file.stat().st_size
    # The last sample of each track is enough: a file is cut at its end.
    for stream in [*container.streams.video, *container.streams.audio]:
        entries = stream.index_entries
        if len(entries) and entries[-1].pos + entries[-1].size > size:
            raise MediaError(
                f"{file}: truncated: its index points to byte "
                f"{entries[-1].pos + entries[-1].size}, but only {size} are there; copy it again"
            )


def _boxes_end(stream: BinaryIO, size: int) -> int:
    """Where an MP4 or MOV file should end at least, as far as its boxes can be followed.

    Nobody knows all boxes. One of an unknown name is stepped over where it fits into the file, and
    is no promise where it does not: it may be rubbish behind the end.
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


def _segment_end(stream: BinaryIO) -> int:
    """The end of a Matroska file's one segment, which follows the EBML header."""
    stream.seek(4)
    length = _ebml_length(stream)
    if length is None:
        return 0
    stream.seek(length, 1)
    if stream.read(4) != SEGMENT:
        return 0
    length = _ebml_length(stream)
    if length is None:
        return 0
    return stream.tell() + length


def _ebml_length(stream: BinaryIO) -> int | None:
    """One EBML length (RFC 8794, section 4); None if it is unknown, as in a live stream."""
    first = stream.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()  # the first byte's leading zero bits count the bytes to follow
    largest = (1 << 7 * (more + 1)) - 1  # 7 bits of every byte; all of them set means "unknown"
    value = int.from_bytes(first + stream.read(more), "big") & largest
    if value == largest:
        return None
    return value
