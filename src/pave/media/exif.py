"""The orientation that a jpg or png notes; what it means stands in `pave.media.orientation`.

Cameras store what the sensor saw and note how to turn it. FFmpeg's releases differ in what they
tell of that note, so it is read here. Source: EXIF 2.32, tag 0x0112; PNG, chunk eXIf.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pave.media.orientation import AS_STORED, MOVES

_TAG = 0x0112
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# What a marker of a jpg means, of those without a length of their own or with picture data behind.
_SCAN, _END = 0xDA, 0xD9
_BARE = {0x01, *range(0xD0, 0xD9)}
# A value's type -> how it is packed: a byte, two bytes, four.
_WHOLE = {1: "B", 3: "H", 4: "I"}
_LARGEST = 1 << 20  # bytes of a note; EXIF has at most 64 kB in a jpg


def orientation_of(file: Path) -> int:
    """The orientation that a picture's file notes, 1 to 8; 1 where it notes none or nonsense.

    Args:
        file: A jpg or png.
    """
    try:
        with file.open("rb") as stream:
            return next(_noted(stream), AS_STORED)
    # A cut file: whether it is a picture is the decoder's to say.
    except (OSError, struct.error):
        return AS_STORED


def _noted(stream: BinaryIO) -> Iterator[int]:
    """Orientations that a file notes: those of EXIF, then what XMP says."""
    head = stream.read(len(_PNG))
    if head.startswith(_JPEG):
        stream.seek(len(_JPEG))
        notes = list(_jpeg_notes(stream))
    elif head == _PNG:
        notes = list(_png_notes(stream))
    else:
        return
    for note in notes:
        if note.startswith(_EXIF):
            yield from _of_exif(note.removeprefix(_EXIF))
    for note in notes:
        if note.startswith(_XMP):
            yield from _of_xmp(note)


def _jpeg_notes(stream: BinaryIO) -> Iterator[bytes]:
    """The APP1 segments in front of a jpg's picture."""
    while True:
        byte = stream.read(1)
        if byte != b"\xff":  # cut off, or no jpg
            return
        while byte == b"\xff":  # any number of them may fill a gap
            byte = stream.read(1)
        marker = byte[0] if byte else _END
        if marker in (_SCAN, _END):
            return
        if marker in _BARE:
            continue
        (length,) = struct.unpack(">H", stream.read(2))
        if marker == 0xE1:
            yield stream.read(length - 2)
        else:
            stream.seek(length - 2, 1)


def _png_notes(stream: BinaryIO) -> Iterator[bytes]:
    """The notes of a png, wherever they stand in it, as a jpg would hold them."""
    while head := stream.read(8):
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if length > _LARGEST or kind not in (b"eXIf", b"iTXt"):
            stream.seek(length + 4, 1)  # behind the chunk's checksum
            continue
        content = stream.read(length)
        stream.seek(4, 1)
        if kind == b"eXIf":
            yield _EXIF + content.removeprefix(_EXIF)
        elif content.startswith(b"XML:com.adobe.xmp\0\0"):  # 0: not packed
            yield _XMP + content


def _of_exif(note: bytes) -> Iterator[int]:
    """The orientation in the first directory of an EXIF note."""
    order = {b"II": "<", b"MM": ">"}.get(note[:2])
    if order is None:
        return
    (first,) = struct.unpack_from(f"{order}I", note, 4)
    (entries,) = struct.unpack_from(f"{order}H", note, first)
    for entry in range(entries):
        place = first + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(f"{order}HHI", note, place)
        if tag == _TAG and kind in _WHOLE and count == 1:
            (value,) = struct.unpack_from(f"{order}{_WHOLE[kind]}", note, place + 8)
            if value in MOVES:
                yield int(value)
            return


def _of_xmp(note: bytes) -> Iterator[int]:
    """The same, as XMP writes it: an attribute or an element."""
    found = re.search(rb"tiff:Orientation(?:=\"|>)([1-8])\b", note)
    if found:
        yield int(found[1])
