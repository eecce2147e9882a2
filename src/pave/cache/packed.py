"""Reading the packed part of a token cache, which older versions of pave wrote.

They joined about 200 entries to a shard: a safetensors file under `shards/` with tensors named
`<key>.<tensor>` and the notes of all its entries in its header. Nothing is packed any more
(docs/decisions.md says what was measured). What is packed is read where it lies, and
`pave.cache.unpack` makes single files of it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pave.cache.entry import Note
from pave.files import entries_of
from pave.texts import parse_json

logger = logging.getLogger(__name__)


class PackedEntries:
    """The entries in a folder of shards, as they were when it was first looked at.

    Args:
        folder: The cache's folder of shards; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[Path] = []
        self._found: dict[str, tuple[Path, Note]] | None = None

    def entries(self) -> dict[str, tuple[Path, Note]]:
        """Key -> its shard and its note. Shards that cannot be read are listed in `damaged`."""
        if self._found is None:
            self._found = {}
            for shard in entries_of(self.folder, "*.safetensors"):
                if shard.is_file():  # to open a pipe is to wait for it
                    self._found |= self._index(shard)
        return self._found

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key; None where no shard holds it, or its shard is damaged or gone."""
        if key not in self.entries():
            return None
        shard, note = self.entries()[key]
        try:
            with safe_open(shard, framework="pt") as file:
                # A copy: all readers of a mapped file share its pages, and writing to one result
                # would change the next.
                return {name: file.get_tensor(f"{key}.{name}").clone() for name in note.names}
        except (SafetensorError, OSError) as error:
            logger.warning("%s cannot be read (%s), so its tokens are computed again", shard, error)
            return None

    def forget(self) -> None:
        """Look at the folder again when next asked."""
        self.damaged = []
        self._found = None

    def _index(self, shard: Path) -> dict[str, tuple[Path, Note]]:
        """What the header of a shard says is in it."""
        try:
            with safe_open(shard, framework="pt") as file:
                # A file without metadata gives None.
                notes = parse_json((file.metadata() or {})["entries"])
            return {key: (shard, Note.from_json(text)) for key, text in notes.items()}
        # The last three: a header that is no list of entries, written by some other program.
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
            logger.warning("%s is damaged (%s), so its tokens are computed again", shard, error)
            self.damaged.append(shard)
            return {}
