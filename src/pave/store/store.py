"""`TokenStore`: a folder of safetensors files, one a key, that any number of processes may read and write at once.

A key names content, not a place: SHA-256 of the media's bytes and of the settings that turned them into tensors. So a store can
be copied between machines, and changing a setting never gives stale tensors. One file a clip reads about as fast as anything
(0.9 ms for a clip of 0.7 MB, cold), and a killed writer can lose only its own clip.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pave.errors import ConfigError
from pave.store.digest import Source, canonical_json, content_digest, digest_bytes_of

logger = logging.getLogger(__name__)

KEY = re.compile(r"[0-9a-f]{64}")
# A file changed this recently may change again within its timestamp's grain: its hash is not remembered yet.
SETTLED_SECONDS = 2.0


class TokenStore:
    """Tensors on disk by content key.

    Args:
        folder: Where the store lives; made when missing. Safe to delete at any time.
        dtype: Keep floating tensors in this type (`torch.bfloat16` halves the store); None keeps each as given. float64
            tensors, which hold times, are never narrowed.

    Example:
        >>> store = TokenStore("cache")  # doctest: +SKIP
        >>> key = store.key("concert.mp4", {"encoder": "mel", "rate": 16000})  # doctest: +SKIP
        >>> store.put(key, {"values": torch.zeros(3, 1, 8)})  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        if dtype is not None and not dtype.is_floating_point:
            raise ConfigError(f"a store keeps floating tensors, {dtype} is none; use torch.bfloat16 or torch.float32")
        self.folder = Path(folder)
        self.dtype = dtype
        self._digests: dict[str, tuple[int, int, str]] = {}

    def key(self, source: Source | bytes, settings: Mapping[str, object]) -> str:
        """The key of what `settings` make of `source`.

        Args:
            source: Media path(s), or a digest that the caller has already computed, as bytes.
            settings: Everything else the tensors depend on, as JSON values.

        Returns:
            64 hexadecimal digits.

        Raises:
            MediaError: If a file cannot be read.
            ConfigError: If the settings are not JSON.
        """
        content = source.hex() if isinstance(source, bytes) else content_digest(source, self._digest_file)
        try:
            return hashlib.sha256(f"{content}\n{canonical_json(settings)}".encode()).hexdigest()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"store settings must be plain JSON values: {error}") from error

    def contains(self, key: str) -> bool:
        """Whether a file for the key is there (it is opened only by `get`)."""
        return self._file(key).is_file()

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key, or None if there are none. A damaged file is removed with a warning and counts as none."""
        file = self._file(key)
        try:
            return load_file(file)
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            logger.warning("%s is damaged (%s); removed, its tensors will be computed again", file, error)
            file.unlink(missing_ok=True)
            return None

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key, whole or not at all; an older value is replaced."""
        ready = {name: self._narrow(tensor).detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        _write_atomically(self._file(key), save(ready))

    def _narrow(self, tensor: Tensor) -> Tensor:
        """The type that is kept."""
        keep = self.dtype is None or not tensor.is_floating_point() or tensor.dtype == torch.float64
        return tensor if keep else tensor.to(self.dtype)

    def _file(self, key: str) -> Path:
        """Where a key lives: 256 subfolders keep directories small."""
        if not KEY.fullmatch(key):
            raise ConfigError(f"not a store key: {key!r}; make one with TokenStore.key()")
        return self.folder / key[:2] / f"{key}.safetensors"

    def _digest_file(self, file: Path) -> str:
        """A file's hash, remembered (also on disk) while its size and modification time stay the same."""
        path = str(file.resolve())
        try:
            stat = file.stat()
        except OSError:
            return digest_bytes_of(file)  # says what is wrong
        note = self.folder / "digests" / hashlib.sha256(path.encode()).hexdigest()
        known = self._digests.get(path) or _read_note(note)
        if known is not None and known[:2] == (stat.st_size, stat.st_mtime_ns):
            self._digests[path] = known
            return known[2]
        digest = digest_bytes_of(file)
        if time.time() - stat.st_mtime > SETTLED_SECONDS:
            self._digests[path] = (stat.st_size, stat.st_mtime_ns, digest)
            _write_atomically(note, json.dumps(self._digests[path]).encode())
        return digest


def _read_note(note: Path) -> tuple[int, int, str] | None:
    """A remembered hash; anything unreadable counts as none."""
    try:
        size, mtime, digest = json.loads(note.read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    whole = isinstance(size, int) and isinstance(mtime, int) and isinstance(digest, str) and KEY.fullmatch(digest) is not None
    return (size, mtime, digest) if whole else None


def _write_atomically(file: Path, data: bytes) -> None:
    """Write under a name of our own, force it to disk, then rename: readers see the whole file or none, also after a crash."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
