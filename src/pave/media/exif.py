"""Which way up a picture is shown: the EXIF orientation of jpg and png files.

Cameras store what the sensor saw and note how to turn it. FFmpeg's releases differ in what they
tell of that note, so it is read here: 1 as stored, 2 mirrored, 3 upside down, 4 flipped, 5 to 8 the
same with rows and columns exchanged. Source: EXIF 2.32, tag 0x0112; PNG, chunk eXIf.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

AS_STORED = 1
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

# Orientation -> does the picture's x lie along the stored y, is x reversed, is y reversed.
_MOVES = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


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


def turned(picture: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
    """A stored picture as it is shown.

    Args:
        picture: `[H, W]` or `[H, W, C]`.
        orientation: 1 to 8.

    Returns:
        The same numbers; rows and columns are exchanged for 5 to 8.
    """
    swapped, left, up = _MOVES[orientation]
    if swapped:
        picture = picture.swapaxes(0, 1)
    if left:
        picture = picture[:, ::-1]
    if up:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def turned_pixels(orientation: int, width: int, height: int) -> npt.NDArray[np.float64]:
    """Where a stored pixel is shown: `shown = M @ (u, v, 1)`.

    Args:
        orientation: 1 to 8.
        width: Of the stored picture.
        height: Of the stored picture.

    Returns:
        `[3, 3]`, for columns u and rows v that are counted from 0.

    Example:
        >>> turned_pixels(6, 64, 48) @ (0, 0, 1)  # the first pixel is shown at the top right
        array([47.,  0.,  1.])
    """
    swapped, left, up = _MOVES[orientation]
    moved = np.eye(3)
    if swapped:
        moved = moved[[1, 0, 2]]
        width, height = height, width
    if left:
        moved = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1.0]]) @ moved
    if up:
        moved = np.array([[1, 0, 0], [0, -1, height - 1], [0, 0, 1.0]]) @ moved
    return moved


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
            if value in _MOVES:
                yield int(value)
            return


def _of_xmp(note: bytes) -> Iterator[int]:
    """The same, as XMP writes it: an attribute or an element."""
    found = re.search(rb"tiff:Orientation(?:=\"|>)([1-8])\b", note)
    if found:
        yield int(found[1])
