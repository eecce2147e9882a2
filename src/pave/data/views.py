"""Views: sequences whose items are made when they are asked for, from others that are there.

A list of a million records would fill the memory of every process of a run. `pave.data.store` keeps
them in a file instead, and what is made of them (some of them, the records of each clip, two files
one behind the other) is a view: numbers of records, 8 bytes each, and not the records.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt

from pave.data.record import Record

T = TypeVar("T")
Numbers = npt.NDArray[np.int64]


class View(Sequence[T]):
    """A sequence that makes its items when they are asked for; a slice of it does so, too."""

    @abstractmethod
    def _item(self, number: int) -> T:
        """One item, for a number from 0 up to the length."""

    @overload
    def __getitem__(self, number: int) -> T: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[T]: ...
    def __getitem__(self, number: int | slice) -> T | Sequence[T]:
        """One item, or a view of some."""
        # As a list has it: negative numbers count from the end, an IndexError is behind the last.
        place = range(len(self))[number]
        if isinstance(place, range):
            return Picked(self, place)
        return self._item(place)


class Picked(View[T]):
    """Some items of another sequence.

    Args:
        items: The sequence.
        numbers: `[items of the view]` their numbers in it, in the order of the view.

    Example:
        >>> list(Picked("abcd", [3, 0]))
        ['d', 'a']
    """

    def __init__(self, items: Sequence[T], numbers: Sequence[int] | Numbers) -> None:
        self._items = items
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def _item(self, number: int) -> T:
        place = int(self._numbers[number])
        return self._items[place]


class Clips(View[Sequence[Record]]):
    """Records by clip: each item is a view of the records of one.

    Args:
        records: The records.
        order: `[records]` their numbers, clip by clip.
        bounds: `[clips, 2]` where each clip begins and ends in `order`.
    """

    def __init__(self, records: Sequence[Record], order: Numbers, bounds: Numbers) -> None:
        self._records = records
        self._order = order
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._bounds)

    def _item(self, number: int) -> Sequence[Record]:
        begin, end = self._bounds[number]  # in `order`
        return Picked(self._records, self._order[begin:end])


class Joined(View[T]):
    """Two sequences, one behind the other.

    Example:
        >>> list(Joined([1, 2], [3]))
        [1, 2, 3]
    """

    def __init__(self, first: Sequence[T], second: Sequence[T]) -> None:
        self._first = first
        self._second = second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def _item(self, number: int) -> T:
        behind = number - len(self._first)  # place in the second
        if behind < 0:
            return self._first[number]
        return self._second[behind]


def clip_bounds(digests: npt.NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Which records belong to one clip, from what tells their clips apart.

    Args:
        digests: `[records, 2]` the digest of each record's clip, 16 bytes.

    Returns:
        `order` and `bounds` as `Clips` takes them: clips in the order of their first records, and
        the records of a clip in their own.

    Example:
        >>> order, bounds = clip_bounds(np.array([[7, 7], [3, 3], [7, 7]], dtype=np.uint64))
        >>> [order[begin:end].tolist() for begin, end in bounds]
        [[0, 2], [1]]
    """
    # Equal digests side by side; a stable sort, so that the records of a clip stay in their order.
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # [records]
    ordered = digests[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    # A clip's records are now one stretch of `order`.
    begins = np.flatnonzero(is_first)  # [clips]
    ends = np.append(begins, len(order))[1:]  # where the next one begins
    bounds = np.stack([begins, ends], axis=1)
    by_first_record = np.argsort(order[begins], kind="stable")
    return order, bounds[by_first_record]
