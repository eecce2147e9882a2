"""Is a file whole? FFmpeg reads a truncated one without complaint: fewer frames, less sound.

The containers that most clips come in say in their first bytes how long they are: MP4 and MOV
boxes, the Matroska and WebM segment, the RIFF chunk of AVI and WAV. Comparing that with the file's
size finds a missing last byte, costs nothing, and has no tolerance to tune. MPEG-TS, MP3 and Ogg
declare no length: a shorter file of those is a shorter clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from pave.errors import MediaError
from pave.media import riff
from pave.media.boxes import begins_with_box, boxes_end

# Names of Matroska's header and of its segment, RFC 8794 and RFC 9559.
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def must_be_whole(file: Path) -> None:
    """Refuse a file that is shorter than it declares itself.

    Args:
        file: An existing file of any kind.

    Raises:
        MediaError: If bytes are missing, or the file cannot be read.
    """
    size = file.stat().st_size
    declared = 0  # where the file should end by its own structure; 0 if it has none that we know
    try:
        with file.open("rb") as stream:
            head = stream.read(12)
            if begins_with_box(head):
                declared = boxes_end(stream, size)
            elif head[:4] == EBML:
                declared = _segment_end(stream)
            elif head[:4] in riff.NAMES and head[8:12] in riff.KINDS:
                declared = riff.riff_end(stream, size)
    except OSError as error:
        raise MediaError(
            f"{file}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if declared > size:
        raise MediaError(
            f"{file}: truncated: it declares at least {declared} bytes, only {size} are there; "
            "copy it again"
        )


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
