"""`Records` and `Clips`: records that lie in a temporary file and are made when they are asked for.

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
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from pave.data.record import Record, clip_key

T = TypeVar("T")
_ID, _CLIP = 8, 16  # bytes of their digests
_DIGITS = 18  # of a number of 64 bits
Numbers = npt.NDArray[np.int64]


class Records(Sequence[Record]):
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
        self._ids += _digest(record.id, _ID)
        self._clips += _digest(clip_key(record), _CLIP)
        self._places.add(place)

    def close(self) -> None:
        """Take no more records: they can be read now."""
        self._file.flush()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> Record: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Record]: ...
    def __getitem__(self, number: int | slice) -> Record | Sequence[Record]:
        """One record, or a view of some."""
        if isinstance(number, slice):
            return Picked(self, np.arange(len(self), dtype=np.int64)[number])
        # As a list has it: counted from the end, and an IndexError behind it.
        number = range(len(self))[number]
        begin, end = self._ends[number], self._ends[number + 1]
        return Record.model_validate_json(self._read(begin, end - begin))

    def place(self, number: int) -> str:
        """Where a record stood in its source, such as `train.jsonl:3`."""
        return self._places[number]

    def doubles(self) -> Iterator[tuple[int, int]]:
        """Numbers of records whose id an earlier one has, each behind that of the earlier one."""
        # Equal ids stand side by side once they are sorted: 8 bytes each, not a dictionary.
        ids = np.frombuffer(self._ids, dtype=np.uint64)
        order = np.argsort(ids, kind="stable")
        alike = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
        pairs = np.stack([order[alike], order[alike + 1]], axis=1)  # [pairs, 2]
        for first, second in pairs[np.argsort(pairs[:, 1])].tolist():
            if self[first].id == self[second].id:  # digests may be alike by chance
                yield first, second

    def clips(self) -> Clips:
        """The records by clip, in the order of the clips' first records."""
        halves = np.frombuffer(self._clips, dtype=np.uint64).reshape(-1, 2)  # [records, 2]
        # Stable, so that the records of a clip stay in their order.
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        ordered = halves[order]
        begins = np.ones(len(order), dtype=bool)
        begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        # A clip's records are now one stretch of `order`.
        starts = np.flatnonzero(begins)  # [clips]
        ends = np.append(starts, len(order))[1:]
        by_first = np.argsort(order[starts], kind="stable")
        return Clips(self, order, np.stack([starts, ends], axis=1)[by_first])

    def _read(self, begin: int, size: int) -> bytes:
        """Bytes of the file, without moving its place, which forked processes share."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, begin)
        with self._one_at_a_time:
            self._file.seek(begin)
            return self._file.read(size)


class Picked(Sequence[Record]):
    """Some records of others, which are made when they are asked for."""

    def __init__(self, records: Records, numbers: Numbers) -> None:
        self._records, self._numbers = records, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, number: int) -> Record: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Record]: ...
    def __getitem__(self, number: int | slice) -> Record | Sequence[Record]:
        """One record, or a view of some."""
        if isinstance(number, slice):
            return Picked(self._records, self._numbers[number])
        return self._records[int(self._numbers[number])]


class Clips(Sequence[Sequence[Record]]):
    """Records by clip.

    Args:
        records: The records.
        order: `[records]` their numbers, clip by clip.
        bounds: `[clips, 2]` where each clip begins and ends in `order`.
    """

    def __init__(self, records: Records, order: Numbers, bounds: Numbers) -> None:
        self._records, self._order, self._bounds = records, order, bounds

    def __len__(self) -> int:
        return len(self._bounds)

    @overload
    def __getitem__(self, number: int) -> Sequence[Record]: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Sequence[Record]]: ...
    def __getitem__(self, number: int | slice) -> Sequence[Record] | Sequence[Sequence[Record]]:
        """The records of one clip, or some of the clips."""
        if isinstance(number, slice):
            return Clips(self._records, self._order, self._bounds[number])
        begin, end = self._bounds[number].tolist()
        return Picked(self._records, self._order[begin:end])


class Joined(Sequence[T]):
    """Two sequences, one behind the other."""

    def __init__(self, first: Sequence[T], second: Sequence[T]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    @overload
    def __getitem__(self, number: int) -> T: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[T]: ...
    def __getitem__(self, number: int | slice) -> T | Sequence[T]:
        """One item, or a list of some."""
        if isinstance(number, slice):
            return list(map(self.__getitem__, range(len(self))[number]))
        number = range(len(self))[number]
        if number < len(self._first):
            return self._first[number]
        return self._second[number - len(self._first)]


class _Places:
    """Places of rows: a text that all begin with, and numbers that mostly count on."""

    def __init__(self) -> None:
        self._begins: list[str] = []
        self._of: array[int] = array("i")
        self._numbers: array[int] = array("q")

    def add(self, place: str) -> None:
        """Note the next one."""
        # "train.jsonl:12" is kept as "train.jsonl:", once, and 12.
        cut = len(place.rstrip("0123456789"))
        begin, number = place[:cut], place[cut:]
        # The digits of a name, such as 0007, or more of them than a number here has.
        if number.startswith("0") or len(number) > _DIGITS:
            begin, number = place, ""
        if not self._begins or self._begins[-1] != begin:
            self._begins.append(begin)
        self._of.append(len(self._begins) - 1)
        self._numbers.append(int(number or -1))

    def __getitem__(self, index: int) -> str:
        number = self._numbers[index]
        return self._begins[self._of[index]] + (str(number) if number >= 0 else "")


def _digest(text: str, size: int) -> bytes:
    """What tells texts apart, in so many bytes."""
    return hashlib.blake2b(text.encode(), digest_size=size).digest()
