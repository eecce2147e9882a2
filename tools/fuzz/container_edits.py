"""Damage inside containers that keeps them readable so far: boxes, chunks, archives, headers.

A flipped bit in a compressed or checked part ends at the first checksum. These edits go deeper:
they change a field and make sums and lengths right again, as an attacker would.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

from bytes_edits import EDITS as BYTE_EDITS
from bytes_edits import Edit, number, set_number
from text_edits import edit_json

Chunk = tuple[int, int, int]
"""Where a chunk begins, where its content begins, and where it ends."""

_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"mvex", b"moof", b"traf"}


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> list[Chunk]:
    """The boxes of an MP4, those within others too."""
    found: list[Chunk] = []
    end = len(data) if end is None else end
    while begin + 8 <= end:
        size = int.from_bytes(data[begin : begin + 4], "big")
        if size < 8 or begin + size > end:
            break
        found.append((begin, begin + 8, begin + size))
        if data[begin + 4 : begin + 8] in _BOXES:
            found += boxes(data, begin + 8, begin + size)
        begin += size
    return found


def riff_chunks(data: bytes) -> list[Chunk]:
    """The chunks of a WAV or AVI, those within lists too."""
    found: list[Chunk] = []
    begin = 12
    while begin + 8 <= len(data):
        size = int.from_bytes(data[begin + 4 : begin + 8], "little")
        found.append((begin, begin + 8, min(len(data), begin + 8 + size)))
        begin += 12 if data[begin : begin + 4] == b"LIST" else 8 + size + size % 2
    return found


def png_chunks(data: bytes) -> list[Chunk]:
    """The chunks of a PNG."""
    found: list[Chunk] = []
    begin = 8
    while begin + 12 <= len(data):
        end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
        if end > len(data):
            break
        found.append((begin, begin + 8, end))
        begin = end
    return found


def jpeg_segments(data: bytes) -> list[Chunk]:
    """The segments of a JPEG up to its picture."""
    found: list[Chunk] = []
    begin = 2
    while begin + 4 <= len(data) and data[begin] == 0xFF and data[begin + 1] != 0xDA:
        end = begin + 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
        found.append((begin, begin + 4, min(end, len(data))))
        begin = end
    return found


def edit_chunks(find: Callable[[bytes], list[Chunk]]) -> Edit:
    """The edit that drops, repeats or changes chunks, of the kind that `find` finds."""

    def edit(data: bytes, chance: random.Random) -> bytes:
        found = find(data)
        if not found:
            return set_number(data, chance)
        begin, content, end = chance.choice(found)
        kind = chance.randrange(6)
        if kind == 0:
            return data[:begin] + data[end:]
        if kind == 1:
            return data[:end] + data[begin:end] * chance.choice((1, 2, 50)) + data[end:]
        if kind == 2:
            other = chance.choice(found)
            return data[:end] + data[other[0] : other[2]] + data[end:]
        if kind == 3 and content - begin >= 8:  # the length of it, or its name
            at = begin + chance.choice((0, 4))
            return data[:at] + number(chance, 4) + data[at + 4 :]
        # A number in it: the header says what is believed, so its first bytes count most.
        span = max(1, end - content)
        at = content + chance.randrange(min(span, chance.choice((16, 64, span))))
        size = chance.choice((1, 2, 4, 8))
        return data[:at] + number(chance, size) + data[at + size :]

    return edit


_edit_png = edit_chunks(png_chunks)


def edit_png(data: bytes, chance: random.Random) -> bytes:
    """Change chunks of a PNG and make its sums right."""
    changed = bytearray(_edit_png(data, chance))
    for begin, _, end in png_chunks(bytes(changed)):
        changed[end - 4 : end] = struct.pack(">I", zlib.crc32(changed[begin + 4 : end - 4]))
    return bytes(changed)


_DTYPES = ("|O", "<f4", ">f8", "|b1", "<c16", "<M8[s]", "<U9", "|V8", "<i8", "<u2", "<f2", "x", "")


def edit_npy(data: bytes, chance: random.Random) -> bytes:
    """Change what the header of an array says of its type and shape."""
    if len(data) < 12 or data[:6] != b"\x93NUMPY":
        return set_number(data, chance)
    end = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:end].decode("latin1").rstrip()
    kind = chance.randrange(4)
    if kind == 0:
        header = re.sub(r"'descr': '[^']*'", f"'descr': '{chance.choice(_DTYPES)}'", header)
    elif kind == 1:
        sizes = chance.choices((0, 1, 2, 4, 7, -1, 2**31, 2**40, 2**63, 10**30), k=3)
        shape = str(tuple(sizes[: chance.randrange(4)]))
        header = re.sub(r"\([^)]*\)", shape, header)
    elif kind == 2:
        header = header.replace("False", chance.choice(("True", "None", "9" * 5000, "(" * 300)))
    else:
        header = chance.choice(("{}", "[]", "", "{'descr': []}", header * 2, header[:-5], "1" * 40))
    text = (header + "\n").encode("latin1")
    return data[:8] + struct.pack("<H", len(text) % 65536) + text + data[end:]


def edit_safetensors(data: bytes, chance: random.Random) -> bytes:
    """Change the header of tensors as the tree that it is, with its length made right."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        return set_number(data, chance)
    header = data[8 : 8 + length]
    edit = chance.choice((_edit_tensor, edit_json))
    header = edit(header, chance)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


_KINDS = ("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F4", "X")


def _edit_tensor(header: bytes, chance: random.Random) -> bytes:
    """Another type or shape of one tensor; every third time the same number of bytes."""
    try:
        tree = json.loads(header)
        name = chance.choice([key for key in tree if key != "__metadata__"])
        entry = tree[name]
        entry["shape"] = chance.choice((entry["shape"][::-1], [1, *entry["shape"]], [], [0], [-1]))
        entry["dtype"] = chance.choice((entry["dtype"], chance.choice(_KINDS)))
    except (ValueError, LookupError, TypeError, RecursionError):
        return edit_json(header, chance)
    return json.dumps(tree).encode()


# What `zipfile` raises for an archive that an edit before this one has damaged.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def edit_zip(data: bytes, chance: random.Random) -> bytes:
    """Change a file within an archive, with its sums made right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except _UNREADABLE:
        return set_number(data, chance)
    name = chance.choice(list(members) or ["x"])
    kind = chance.randrange(8)
    if kind == 0:
        members.pop(name, None)
    elif kind == 1:
        members[chance.choice(("../x.npy", "/x.npy", "x.npy", "data.pkl", ""))] = members.get(
            name, b""
        )
    elif kind == 2:
        members[name] = b"\0" * (4 << 20)  # packs to a few kilobytes
    else:
        edits = (edit_npy,) if name.endswith(".npy") else BYTE_EDITS
        members[name] = chance.choice((*edits, set_number))(members.get(name, b""), chance)
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member or "x"), content, packing)
    return out.getvalue()
