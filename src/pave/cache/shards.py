"""The packed part of a store: safetensors files of about 200 clips each, read one clip at a time.

A shard holds the tensors of many entries under the names `<key>.<tensor>`, and the notes of its
entries in its header. The headers together are the index: there is no second file that could say
something else. Shards are mapped into memory; a read copies the one clip that was asked for. A
shard never changes once it is in place. It can be replaced by another one, in this order: the new
file is renamed into place, then the old one is removed. A reader that does not find a key looks
once more at what is there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pave.cache.entry import Note
from pave.files import replace_atomically, sync

logger = logging.getLogger(__name__)

MOST_ENTRIES = 200
MOST_BYTES = 256 << 20
_OPEN = 64  # shards kept mapped at a time
# A folder changed this recently may change again within its timestamp's grain.
SETTLED_SECONDS = 2.0


class Shards:
    """Reads the shards in a folder, and follows what other processes do to it.

    Args:
        folder: The store's folder of shards; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._notes: dict[str, dict[str, Note]] = {}
        self._where: dict[str, str] = {}
        self._bad: dict[str, tuple[int, int]] = {}
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._stamp, self._settled = -1, False
        self._lock = threading.Lock()

    def contains(self, key: str) -> bool:
        """Whether a shard holds the key."""
        return self.place(key) is not None

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key, copied out of the mapped file; None if no readable shard has it."""
        for _ in range(3):  # a shard may be replaced between finding and opening it
            name = self.place(key)
            if name is None:
                return None
            try:
                return self.read(name, key)
            except (FileNotFoundError, KeyError):
                self.refresh(force=True)
            except (SafetensorError, OSError) as error:
                self._distrust(name, error)
        return None

    def read(self, name: str, key: str) -> dict[str, Tensor]:
        """The tensors of a key from one shard.

        Raises:
            FileNotFoundError: If the shard is gone.
            KeyError: If it does not hold the key.
            SafetensorError: If it is damaged.
        """
        names = self._notes[name][key].names
        file = self._handle(name)
        # A copy, because all readers of a mapped file share its pages: writing to one result would
        # change the next.
        return {tensor: file.get_tensor(f"{key}.{tensor}").clone() for tensor in names}

    def refresh(self, force: bool = True) -> None:
        """Look at what is in the folder now; unless forced, only if it has changed."""
        with self._lock:
            if not self._changed() and not force:
                return
            there = (
                {path.name for path in self.folder.glob("*.safetensors")}
                if self.folder.is_dir()
                else set()
            )
            for name in self._notes.keys() - there:
                del self._notes[name]
                self._open.pop(name, None)
            for name in sorted(there - self._notes.keys()):
                if self._bad.get(name) != self._identity(name):
                    self._admit(name)
            self._where = {key: name for name, notes in self._notes.items() for key in notes}

    def notes(self) -> Mapping[str, Mapping[str, Note]]:
        """Shard -> key -> note, as of the last refresh."""
        return self._notes

    def unreadable(self) -> set[str]:
        """Shards that could not be opened, as of the last refresh."""
        return {name for name, was in self._bad.items() if self._identity(name) == was}

    def place(self, key: str) -> str | None:
        """The shard that holds the key, or None; what others removed is gone here too."""
        self.refresh(force=False)
        return self._where.get(key)

    def _changed(self) -> bool:
        try:
            stamp = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return bool(self._notes)
        if stamp == self._stamp and self._settled:
            return False
        self._stamp, self._settled = stamp, time.time() - stamp / 1e9 > SETTLED_SECONDS
        return True

    def _admit(self, name: str) -> None:
        """Read a new shard's index."""
        try:
            with safe_open(self.folder / name, framework="pt") as file:
                entries = json.loads((file.metadata() or {})["entries"])
            self._notes[name] = {key: Note.from_json(text) for key, text in entries.items()}
            self._bad.pop(name, None)
        except FileNotFoundError:
            return
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
            self._mark_bad(name, error)

    def _distrust(self, name: str, error: Exception) -> None:
        """Leave a shard alone that turned out to be damaged."""
        with self._lock:
            self._mark_bad(name, error)
            self._notes.pop(name, None)
            self._open.pop(name, None)
            self._where = {key: other for other, notes in self._notes.items() for key in notes}

    def _mark_bad(self, name: str, error: Exception) -> None:
        """Until another file takes its place."""
        logger.warning(
            "%s is damaged (%s); its tensors count as missing", self.folder / name, error
        )
        self._bad[name] = self._identity(name)

    def _identity(self, name: str) -> tuple[int, int]:
        """Tells a file from another one of the same name; nothing for one that is gone."""
        try:
            stat = (self.folder / name).stat()
        except OSError:
            return (0, 0)
        return (stat.st_ino, stat.st_mtime_ns)

    def _handle(self, name: str) -> Any:
        """The mapped file, from the most recently used ones."""
        with self._lock:
            if name not in self._open:
                self._open[name] = safe_open(self.folder / name, framework="pt")
            self._open.move_to_end(name)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
            return self._open[name]


def write_shards(
    folder: Path, entries: Iterable[tuple[str, Note, Mapping[str, Tensor]]]
) -> list[str]:
    """Write entries as shards, each whole or not at all; a shard is full at `MOST_ENTRIES` or `MOST_BYTES`.

    The name says which keys are inside, so two processes that pack the same entries write the same
    file.

    Args:
        folder: The store's folder of shards.
        entries: Key, note and tensors; read one shard at a time.

    Returns:
        Names of the files, which are on disk, names included, when this returns.
    """
    written: list[str] = []
    batch: dict[str, tuple[Note, Mapping[str, Tensor]]] = {}
    for key, note, tensors in entries:
        size = sum(held.bytes for held, _ in batch.values())
        if batch and (len(batch) >= MOST_ENTRIES or size + note.bytes > MOST_BYTES):
            written.append(_write(folder, batch))
            batch = {}
        batch[key] = (note, tensors)
    if batch:
        written.append(_write(folder, batch))
    if written:
        sync(folder)
    return written


def _write(folder: Path, batch: Mapping[str, tuple[Note, Mapping[str, Tensor]]]) -> str:
    name = hashlib.sha256("\n".join(sorted(batch)).encode()).hexdigest() + ".safetensors"
    tensors = {
        f"{key}.{part}": value.clone()
        for key, (_, parts) in sorted(batch.items())
        for part, value in parts.items()
    }
    metadata = {
        "entries": json.dumps({key: note.to_json() for key, (note, _) in sorted(batch.items())})
    }
    replace_atomically(
        folder / name, lambda temporary: save_file(tensors, temporary, metadata=metadata)
    )
    return name
