"""Damage to bytes of any kind: what disks and cut downloads do, and what attackers do.

An edit is a function of the bytes and a source of chance, so that a number gives the same damage
again.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Edit = Callable[[bytes, random.Random], bytes]

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
EXTREMES += (0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF)
HEAD = 512  # bytes; most of a format's meaning stands at its beginning
LARGEST_PIECE = 4096
MOST_BYTES = 8 << 20
"""Nothing grows beyond this: large files are slow, and say nothing new."""


def place(data: bytes, chance: random.Random) -> int:
    """Somewhere in the data; every second time near its beginning."""
    if not data:
        return 0
    if chance.random() < 0.5:
        return chance.randrange(min(HEAD, len(data)))
    return chance.randrange(len(data))


def piece(data: bytes, chance: random.Random) -> tuple[int, int]:
    """Begin and end of a piece of the data, more often a small one."""
    begin = place(data, chance)
    length = int(LARGEST_PIECE ** chance.random())
    return begin, min(len(data), begin + length)


def number(chance: random.Random, size: int) -> bytes:
    """A number of so many bytes at the edge of what it can hold, in either order of bytes."""
    order = chance.choice(("little", "big"))
    value = chance.choice(EXTREMES) + chance.choice((-1, 0, 0, 1))
    return (value % (1 << (8 * size))).to_bytes(size, order)


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    """A few bits turn."""
    found = bytearray(data)
    if not found:
        return data
    for _ in range(chance.choice((1, 1, 2, 8, 32))):
        found[place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(found)


def cut(data: bytes, chance: random.Random) -> bytes:
    """A download that broke off."""
    return data[: place(data, chance)]


def cut_head(data: bytes, chance: random.Random) -> bytes:
    """The beginning is missing."""
    return data[place(data, chance) :]


def drop_piece(data: bytes, chance: random.Random) -> bytes:
    """A piece in the middle is missing."""
    begin, end = piece(data, chance)
    return data[:begin] + data[end:]


def repeat_piece(data: bytes, chance: random.Random) -> bytes:
    """A piece is there several times."""
    begin, end = piece(data, chance)
    times = chance.choice((2, 3, 10, 100))
    return (data[:begin] + data[begin:end] * times + data[end:])[:MOST_BYTES]


def move_piece(data: bytes, chance: random.Random) -> bytes:
    """A piece lies elsewhere."""
    begin, end = piece(data, chance)
    rest = data[:begin] + data[end:]
    at = place(rest, chance)
    return rest[:at] + data[begin:end] + rest[at:]


def blank_piece(data: bytes, chance: random.Random) -> bytes:
    """A piece of zeros, or of ones: a hole of a disk."""
    begin, end = piece(data, chance)
    return data[:begin] + chance.choice((b"\0", b"\xff")) * (end - begin) + data[end:]


def noise_piece(data: bytes, chance: random.Random) -> bytes:
    """A piece of noise."""
    begin, end = piece(data, chance)
    return data[:begin] + chance.randbytes(end - begin) + data[end:]


def set_number(data: bytes, chance: random.Random) -> bytes:
    """A number at the edge of its range, wherever a number may stand."""
    size = chance.choice((1, 2, 4, 8))
    begin = place(data, chance)
    begin -= begin % chance.choice((1, size))  # fields mostly stand at multiples of their size
    return data[:begin] + number(chance, size) + data[begin + size :]


def add_noise(data: bytes, chance: random.Random) -> bytes:
    """Something stands before, in or behind the data that does not belong there."""
    at = chance.choice((0, place(data, chance), len(data)))
    return data[:at] + chance.randbytes(chance.choice((1, 16, 1024))) + data[at:]


def empty(_: bytes, __: random.Random) -> bytes:
    """Nothing is left."""
    return b""


EDITS: tuple[Edit, ...] = (
    flip_bits,
    flip_bits,
    cut,
    cut_head,
    drop_piece,
    repeat_piece,
    move_piece,
    blank_piece,
    noise_piece,
    set_number,
    set_number,
    set_number,
    add_noise,
    empty,
)
