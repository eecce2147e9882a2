"""Where a file of AIFF, CAF, AU, W64 or SoX should end, by what it declares of its sound.

As in WAV (`pave.media.riff`), a writer into a pipe leaves a placeholder, which is no promise. What
stands behind the sound (titles, markers) may be cut: nothing that is heard is lost with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

_MOST_CHUNKS = 1000  # of which a file with sound has ten
# From here on a length of 32 bits is a placeholder: sox writes 0x7f000000 into AIFF, and less than
# a header's size on top.
_UNCOUNTED = 0x7F000000 - (1 << 20)
_UNCOUNTED_LONG = 1 << 62  # of 64 bits: all of them set, mostly
_MISCOUNT = 9  # bytes by which whole files are off: their own head, and the padding

Chunk = tuple[bytes, int, int]
"""Its name, its first byte behind the head, and its bytes; 0 for what nobody counted."""


def sound_end(head: bytes, stream: BinaryIO, size: int) -> int:
    """The byte behind the last one of the sound that a file promises; 0 if it promises none.

    Args:
        head: The first twelve bytes.
        stream: The file.
        size: Its bytes.
    """
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(stream, size)
    find = _BY_NAME.get(head[:4])
    if find is None:
        return 0
    return find(stream, size)


def _aiff(stream: BinaryIO, size: int) -> int:
    """Source: Audio Interchange File Format 1.3, Apple 1989; numbers are big-endian."""
    stream.seek(4)
    form = int.from_bytes(stream.read(4), "big")
    stream.seek(12)
    for name, start, length in _chunks(stream, _aiff_head):
        if name == b"SSND":
            return _end(start, length)
    # Cut before the sound, if it is not the count that is wrong.
    end = _end(8, _counted(form, _UNCOUNTED))
    if size < end <= size + _MISCOUNT:
        return 0
    return end


def _aiff_head(stream: BinaryIO) -> Chunk | None:
    name, number = stream.read(4), stream.read(4)
    if len(number) < 4:
        return None
    length = int.from_bytes(number, "big")
    return name, stream.tell(), _counted(length, _UNCOUNTED)


def _caf(stream: BinaryIO, size: int) -> int:
    """Source: Apple Core Audio Format Specification 1.0. Packets may have a table behind them."""
    stream.seek(8)
    end = 0
    for name, start, length in _chunks(stream, _caf_head):
        if name in (b"data", b"pakt"):
            end = max(end, _end(start, length))
    return end


def _caf_head(stream: BinaryIO) -> Chunk | None:
    name, number = stream.read(4), stream.read(8)
    if len(number) < 8:
        return None
    length = int.from_bytes(number, "big")
    return name, stream.tell(), _counted(length, _UNCOUNTED_LONG)


def _w64(stream: BinaryIO, size: int) -> int:
    """Source: Sony Wave64 (Sonic Foundry 2003). Names have 16 bytes, lengths count the head."""
    stream.seek(40)  # the name and length of the whole file, and "wave"
    for name, start, length in _chunks(stream, _w64_head):
        if name == b"data":
            return _end(start, length)
    return 0


def _w64_head(stream: BinaryIO) -> Chunk | None:
    name, number = stream.read(16), stream.read(8)
    if len(number) < 8:
        return None
    length = int.from_bytes(number, "little") - 24
    return name[:4], stream.tell(), _counted(max(length, 0), _UNCOUNTED_LONG)


def _au(stream: BinaryIO, size: int) -> int:
    """Source: the man page audio(4) of SunOS; numbers are big-endian."""
    stream.seek(4)
    start = int.from_bytes(stream.read(4), "big")
    length = int.from_bytes(stream.read(4), "big")
    if length == size:  # some writers count the head
        return 0
    return _end(start, _counted(length, _UNCOUNTED))


def _sox(stream: BinaryIO, size: int) -> int:
    """Source: the man page soxformat(7); a sample of each channel has four bytes."""
    stream.seek(4)
    head = int.from_bytes(stream.read(4), "little")
    samples = int.from_bytes(stream.read(8), "little")
    return _end(4 + head, 4 * _counted(samples, _UNCOUNTED_LONG))


_BY_NAME: dict[bytes, Callable[[BinaryIO, int], int]] = {
    b"caff": _caf,
    b"riff": _w64,
    b".snd": _au,
    b".SoX": _sox,
}


def _chunks(stream: BinaryIO, head: Callable[[BinaryIO], Chunk | None]) -> Iterator[Chunk]:
    """Chunk by chunk; behind one that nobody counted there is nothing to be found."""
    for _ in range(_MOST_CHUNKS):
        chunk = head(stream)
        if chunk is None:
            return
        yield chunk
        name, start, length = chunk
        if not length and name in (b"SSND", b"data"):
            return
        step = _STEPS.get(head, 1)
        stream.seek(start + -(-length // step) * step)


# At which bytes the next chunk may begin.
_STEPS: dict[Callable[[BinaryIO], Chunk | None], int] = {_aiff_head: 2, _w64_head: 8}


def _counted(length: int, placeholder: int) -> int:
    """A length, or 0 for one that nobody counted."""
    return length * (length < placeholder)


def _end(start: int, length: int) -> int:
    """Where so many bytes end; 0 where nobody counted them."""
    if not length:
        return 0
    return start + length
