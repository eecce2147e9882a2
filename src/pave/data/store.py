"""`Records`: records that lie in a temporary file and are made when they are asked for.

A record as a Python object takes kilobytes, so a million of them would take gigabytes in every
process of a run. They go through memory once, into a file that nobody else can change. Kept in
memory are 44 bytes: its place in the file and in its source, and what tells ids and clips apart.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from array import array
from collections.abc import Iterator

import numpy as np
from pydantic_core import to_json

from pave.data.record import Record, clip_key
from pave.data.views import Clips, View, clip_bounds

_ID_BYTES = 8
_CLIP_BYTES = 16
_MOST_DIGITS = 18  # of a number that 64 bits hold


class Records(View[Record]):
    """A sequence of records that takes 44 bytes of memory for each.

    Filled with `add`, and read after `close`. Several threads may read, and forked processes too.

    Example:
        >>> records = Records()
        >>> records.add(Record(id="a1", video="a.mp4", turns=[{"question": "Who?"}]), "a.jsonl:1")
        >>> records.close()
        >>> records[0].id
        'a1'
    """

    def __init__(self) -> None:
        """No records yet."""
        # Without a name, so that it goes with the process, however that ends.
        self._file = tempfile.TemporaryFile(prefix="pave-records-")  # noqa: SIM115
        self._ends = array("q", [0])  # where each line begins, and the last one ends
        self._ids = bytearray()
        self._clips = bytearray()
        self._places = _Places()
        self._one_at_a_time = threading.Lock()

    def add(self, record: Record, place: str) -> None:
        """Keep a record; `place` says where it stood."""
        # NaN in `meta` stays what it is; JSON proper has no word for it.
        line = to_json(record, inf_nan_mode="constants")
        self._file.write(line)
        self._ends.append(self._ends[-1] + len(line))
        self._ids += _digest(record.id, _ID_BYTES)
        self._clips += _digest(clip_key(record), _CLIP_BYTES)
        self._places.add(place)

    def close(self) -> None:
        """Take no more records: they can be read now."""
        self._file.flush()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _item(self, number: int) -> Record:
        begin = self._ends[number]
        end = self._ends[number + 1]
        return Record.model_validate_json(self._read(begin, end - begin))

    def place(self, number: int) -> str:
        """Where a record stood in its source, such as `train.jsonl:3`."""
        return self._places[number]

    def doubles(self) -> Iterator[tuple[int, int]]:
        """Numbers of records whose id an earlier one has, each behind that of the earlier one."""
        # Equal ids stand side by side once they are sorted: 8 bytes each, not a dictionary.
        ids = np.frombuffer(self._ids, dtype=np.uint64)
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        alike = np.flatnonzero(ordered[1:] == ordered[:-1])
        earlier, later = order[alike], order[alike + 1]
        for pair in np.argsort(later):
            first, second = int(earlier[pair]), int(later[pair])
            # Digests may be alike by chance.
            if self[first].id == self[second].id:
                yield first, second

    def clips(self) -> Clips:
        """The records by clip, in the order of the clips' first records."""
        halves = np.frombuffer(self._clips, dtype=np.uint64)
        order, bounds = clip_bounds(halves.reshape(-1, 2))
        return Clips(self, order, bounds)

    def _read(self, begin: int, size: int) -> bytes:
        """Bytes of the file, without moving its place, which forked processes share."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, begin)
        with self._one_at_a_time:
            self._file.seek(begin)
            return self._file.read(size)


class _Places:
    """Places of rows: a text that all begin with, and numbers that mostly count on.

    "train.jsonl:12" is kept as "train.jsonl:", once for all rows of the file, and 12.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._text_of: array[int] = array("i")  # [places] which of the texts it begins with
        self._numbers: array[int] = array("q")  # [places] what follows; -1 for nothing

    def add(self, place: str) -> None:
        """Note the next one."""
        text = place.rstrip("0123456789")
        digits = place[len(text) :]
        # The digits of a name, such as 0007, or more of them than a number here has.
        if digits.startswith("0") or len(digits) > _MOST_DIGITS:
            text, digits = place, ""
        if not self._texts or self._texts[-1] != text:
            self._texts.append(text)
        self._text_of.append(len(self._texts) - 1)
        self._numbers.append(int(digits or -1))

    def __getitem__(self, index: int) -> str:
        text = self._texts[self._text_of[index]]
        number = self._numbers[index]
        if number < 0:
            return text
        return f"{text}{number}"


def _digest(text: str, size: int) -> bytes:
    """What tells texts apart, in so many bytes."""
    return hashlib.blake2b(text.encode(), digest_size=size).digest()
