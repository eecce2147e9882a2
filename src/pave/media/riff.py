"""Where a WAV or AVI file should end, by what its chunks declare; and what a WebP is.

A writer into a pipe cannot go back to fill in the lengths: it leaves a placeholder, which is no
promise. Nor is the length of the whole file to be trusted to the byte: some writers count the eight
bytes before it, or a last padding byte that they never write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# The same chunks; the last two have a chunk with lengths of 64 bits in front.
NAMES = {b"RIFF", b"RF64", b"BW64"}
KINDS = {b"AVI ", b"WAVE"}
_LONG = 0xFFFFFFFF  # "see the length of 64 bits"
# Placeholders lie this near to 2 GiB (sox and espeak: 0x7ffff000 and the headers on top) or below
# 4 GiB (FFmpeg: 0xffffffff).
_NEAR = 1 << 20
_MISCOUNT = 9  # bytes by which whole files are off: their own head, and the padding
_LARGEST = 1 << 62  # bytes; a length of 64 bits from here on is a placeholder, and no file's
_MOST_CHUNKS = 1000  # of which a file with sound has ten


def riff_end(stream: BinaryIO, size: int) -> tuple[int, bool]:
    """The byte behind the last one that a WAV or AVI file promises; 0 if it promises none.

    The second is whether lengths of 64 bits are there and nobody counted them: FFmpeg would read
    nothing of such a WAV.

    Args:
        stream: The file.
        size: Its bytes.

    Source:
        Multimedia Programming Interface and Data Specifications 1.0 (RIFF); EBU Tech 3306
        (RF64); ITU-R BS.2088 (BW64).
    """
    stream.seek(0)
    head = stream.read(12)  # name, length, kind
    total = int.from_bytes(head[4:8], "little")
    end = 0
    if not _placeholder(total):
        end = total + 8  # the name and the length themselves stand before what is counted
        if head[8:12] == b"AVI ":
            end = _further_parts(stream, end)
            stream.seek(12)
    long_sound = 0  # bytes, where 32 bits cannot say it
    uncounted = False
    reached = 0  # where the last chunk ends
    for name, start, length in _chunks(stream):
        reached = start + length
        if name == b"ds64":
            end, long_sound = _long_lengths(stream.read(16))
            uncounted = head[:4] != b"RIFF" and long_sound == 0
        # Nothing that matters stands behind the sound of a WAV.
        if name == b"data" and length == _LONG and long_sound:
            return start + long_sound, False
        if name == b"data" and not _placeholder(length):
            return reached, uncounted
        if name == b"data":
            break
    if size < end <= size + _MISCOUNT and reached <= size:
        return 0, uncounted
    return end, uncounted


def _further_parts(stream: BinaryIO, end: int) -> int:
    """Where the last of the parts ends that a long AVI has, each of about a gigabyte.

    Source:
        OpenDML AVI File Format Extensions 1.02, section 3.
    """
    for _ in range(_MOST_CHUNKS):
        stream.seek(end)
        head = stream.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or head[8:] != b"AVIX" or _placeholder(length):
            break
        end += 8 + length
    return end


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length of each chunk; the stream stands at the first byte meanwhile."""
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        if len(head) < 8:
            return
        start, length = stream.tell(), int.from_bytes(head[4:], "little")
        yield head[:4], start, length
        stream.seek(start + length + length % 2)  # chunks begin at even bytes


def _placeholder(length: int) -> bool:
    """Whether a length of 32 bits is one that nobody counted."""
    return length == 0 or abs(length - 2**31) < _NEAR or length >= 2**32 - _NEAR


def _long_lengths(head: bytes) -> tuple[int, int]:
    """Where the file ends and the bytes of its sound; 0 for what nobody counted."""
    whole = int.from_bytes(head[:8], "little")
    sound = int.from_bytes(head[8:], "little")
    end = 0
    if 0 < whole < _LARGEST:
        end = whole + 8
    if sound >= _LARGEST:
        sound = 0
    return end, sound


def is_animated_webp(file: Path) -> bool:
    """Whether a file is a WebP of several pictures.

    Source:
        RFC 9649, 2.7: the extended file format and its flags.
    """
    with file.open("rb") as stream:
        head = stream.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 0b10)
