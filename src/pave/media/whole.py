"""Is a file whole? FFmpeg reads a truncated one without complaint: fewer frames, less sound.

The containers that most clips come in say in their first bytes how long they are: MP4 and MOV
boxes, the Matroska and WebM segment, the RIFF chunk of AVI and WAV, the sound of AIFF, CAF, AU, W64
and SoX. Comparing that with the file's size finds a missing last byte, costs nothing, and has no
tolerance to tune. Others declare seconds at most, or nothing: see `pave.media.shorter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer

from pave.errors import MediaError
from pave.media import riff
from pave.media.lengths import sound_end

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


@dataclass(frozen=True)
class Promise:
    """What a file's structure says of its length.

    Attributes:
        uncounted: It is a WAV whose writer left the length out: FFmpeg must be told so.
        short: Where the file should end, if it ends before that and its index is to tell whether
            anything that is shown or heard is missing; otherwise 0.
    """

    uncounted: bool = False
    short: int = 0


def must_be_whole(file: Path) -> Promise:
    """Refuse a file that is shorter than it declares itself.

    Args:
        file: An existing file of any kind.

    Returns:
        What is left to be looked at once it is open.

    Raises:
        MediaError: If the file is empty, bytes are missing, or it cannot be read.
    """
    size = file.stat().st_size
    if size == 0:
        raise MediaError(f"{file}: the file is empty (0 bytes); copy it again")
    declared = 0  # where the file should end by its own structure; 0 if it has none that we know
    uncounted = indexed = False
    try:
        with file.open("rb") as stream:
            head = stream.read(12)
            if head[4:8] in BOXES | PADDING:
                declared, indexed = _boxes_end(stream, size)
            elif head[:4] == EBML:
                declared = _segment_end(stream)
            elif head[:4] in riff.NAMES and head[8:12] in riff.KINDS:
                declared, uncounted = riff.riff_end(stream, size)
            else:
                declared = sound_end(head, stream, size)
    except OSError as error:
        raise MediaError(
            f"{file}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if declared > size and not indexed:
        raise _truncated(file, declared, size)
    return Promise(uncounted, declared * (declared > size))


def _truncated(file: Path, declared: int, size: int) -> MediaError:
    return MediaError(
        f"{file}: truncated: it declares at least {declared} bytes, but only {size} are there; "
        "copy it again"
    )


def must_hold_samples(file: Path, container: InputContainer, promise: Promise) -> None:
    """Refuse an MP4 whose index leads behind the end of the file.

    Its boxes do not show that if the last one has no length and goes on "to the end". And where
    they show that bytes are missing, these may be of no account: the index knows.

    Raises:
        MediaError: If a sample of a track is not all there.
    """
    size = file.stat().st_size
    known = "mp4" in container.format.name.split(",")
    end = 0  # of the last sample
    if known:
        for stream in [*container.streams.video, *container.streams.audio]:
            entries = stream.index_entries
            # The last sample is enough where a file is cut at its end and nothing else is odd.
            places = range(len(entries))
            if not promise.short:
                places = places[-1:]
            for place in places:
                end = max(end, entries[place].pos + entries[place].size)
    if promise.short and not end:
        raise _truncated(file, promise.short, size)
    if end > size:
        raise MediaError(
            f"{file}: truncated: its index points to byte {end}, but only {size} are there; "
            "copy it again"
        )


def _boxes_end(stream: BinaryIO, size: int) -> tuple[int, bool]:
    """Where an MP4 or MOV file should end at least, as far as its boxes can be followed.

    Nobody knows all boxes. One of an unknown name is stepped over where it fits into the file, and
    is no promise where it does not: it may be rubbish behind the end.

    The second is whether bytes are missing, and yet a whole index is there that says where every
    sample lies.
    """
    end = 0
    kinds = set()
    place = -1  # of a whole index
    while end + 8 <= size:
        stream.seek(end)
        name, length = _box(stream.read(LARGEST_HEAD), size - end)
        known = name in BOXES
        if length < 8 or (end + length > size and not known):
            break  # rubbish or padding: whatever stands behind it, nothing is promised
        kinds.add(name)
        if name == b"moov" and end + length <= size:
            place = end
        end += length
    if b"moov" not in kinds:
        return end, False
    if not kinds & MEDIA:
        # An index without any media, as far as we know boxes.
        end = max(end, size) + 1
    if end <= size or place < 0:
        return end, False
    stream.seek(place)
    _, length = _box(stream.read(LARGEST_HEAD), size - place)
    # Of fragments the index knows nothing; it has a box that says that they follow.
    fragments = b"moof" in kinds or b"mvex" in stream.read(length)
    return end, not fragments


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
