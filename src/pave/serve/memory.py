"""`Memory`: what was made of clips, kept for the next question up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from pave.data import ClipFeatures


class Memory:
    """A mapping that forgets what was not asked for longest when it grows too large.

    Args:
        most: Bytes that it may hold; 0 keeps nothing.

    Example:
        >>> memory = Memory(10)
        >>> memory.put("a", "first", 6)
        >>> memory.put("b", "second", 6)
        >>> memory.get("a"), memory.get("b")
        (None, 'second')
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: Hashable) -> Any:
        """What was put under a key; None if nothing was, or it is forgotten."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)  # the first one is forgotten first
            return self._kept[key][0]

    def put(self, key: Hashable, thing: Any, size: int) -> None:
        """Keep a thing of so many bytes, at the cost of older ones."""
        with self._lock:
            # It would push everything else out, and then itself.
            if size > self._most:
                return
            if key in self._kept:
                self.bytes -= self._kept.pop(key)[1]
            self._kept[key] = (thing, size)
            self.bytes += size
            while self.bytes > self._most:
                _, (_, gone) = self._kept.popitem(last=False)
                self.bytes -= gone


def size_of_clip(features: ClipFeatures) -> int:
    """Bytes of a clip's tokens."""
    found = [features.visual.tokens, features.visual.query, *features.clip.pixels.values()]
    found += [tokens.values for tokens in features.channels.values()]
    return sum(tensor.nbytes for tensor in found if tensor is not None)
