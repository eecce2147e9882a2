"""`TokenCache`: a folder of tensors by content, that many processes may read and write at once.

A key names content, not a place: SHA-256 of the media's bytes and of the settings that turned them
into tensors. So a cache can be copied between machines, and changing a setting never gives stale
tensors.

    ab/<key>.safetensors       one entry; a killed writer can lose only its own clip
    failed/<key>.json          why no tensors can be made for a key
    store.json                 the type that floating tensors are kept in, where one was chosen
    digests/                   remembered hashes of media files
    shards/, leases/           what older versions wrote, see `pave.cache.packed`

Every file is written under another name and renamed into place, so nobody needs a lock: readers see
a whole file or none, and two writers of one key write the same content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from pave.cache.digest import RememberedDigests, Source, canonical_json, content_digest
from pave.cache.entry import Note, note_of
from pave.cache.packed import PackedEntries
from pave.errors import ConfigError
from pave.files import (
    as_path,
    entries_of,
    is_clutter,
    regular_file,
    remove_unless_new,
    write_atomically,
)
from pave.texts import parse_json

logger = logging.getLogger(__name__)

KEY = re.compile(r"[0-9a-f]{64}")
# The file keeps the name it had when a token cache was called a store.
SETTINGS = "store.json"
# Two hexadecimal digits are a folder of entries.
PARTS = re.compile(r"[0-9a-f]{2}|shards|failed|digests|leases|" + re.escape(SETTINGS))


class TokenCache:
    """Tensors on disk by content key.

    Args:
        folder: Where the cache lives; made when missing. Safe to delete at any time.
        dtype: Keep floating tensors in this type (`torch.bfloat16` halves the cache). A cache
            remembers the type that it was made with, and everybody who opens it without naming one
            keeps to it; a cache for which none was named keeps tensors as given. float64 tensors,
            which hold times, are never narrowed.

    Raises:
        ConfigError: If the type is no floating type, or the cache was made with another one.

    Example:
        >>> cache = TokenCache("tokens")  # doctest: +SKIP
        >>> key = cache.key("concert.mp4", {"encoder": "mel", "rate": 16000})  # doctest: +SKIP
        >>> cache.put(key, {"values": torch.zeros(3, 1, 8)})  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        known = isinstance(dtype, torch.dtype)
        # A word such as "bf16" is no type of torch's.
        if dtype is not None and not (known and dtype.is_floating_point):
            raise ConfigError(
                f"a token cache stores floating-point tensors, not {dtype}; use torch.bfloat16 "
                "or torch.float32"
            )
        self.folder = as_path(folder, ConfigError, "a token cache")
        self.packed = PackedEntries(self.folder / "shards")
        self.dtype = self._agree(dtype)
        self._digests = RememberedDigests(self.folder / "digests")

    def content(self, source: Source) -> str:
        """Digest of a source's content; hashes of unchanged files are remembered.

        Raises:
            MediaError: If a file cannot be read.
        """
        return content_digest(source, self._digests)

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
        content = source.hex() if isinstance(source, bytes) else self.content(source)
        try:
            text = canonical_json(settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"settings in a token cache's key must be plain JSON values: {error}"
            ) from error
        # Hexadecimal digits hold no line break, so no two pairs make one text.
        return hashlib.sha256(f"{content}\n{text}".encode()).hexdigest()

    def contains(self, key: str) -> bool:
        """Whether there is something for the key (it is read only by `get`)."""
        return self.file(key).is_file() or key in self.packed.entries()

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key, or None if there are none.

        A damaged file is removed with a warning and counts as none.

        Raises:
            ConfigError: If there is something else than a regular file.
        """
        found = self._read(key)
        if found is None:
            found = self.packed.get(key)
        if found is None and key in self.packed.entries():
            # Another process has just made single files of the shard.
            found = self._read(key)
        return found

    def put(
        self, key: str, tensors: Mapping[str, Tensor], *, label: str = "", content: str = ""
    ) -> None:
        """Keep tensors under a key, whole or not at all; an older value is replaced.

        Args:
            key: From `key`.
            tensors: What to keep.
            label: What made them, e.g. "audio/mel", for people who look into the cache.
            content: Digest of the media they were made from, so that tokens of other media can be
                found and removed.
        """
        # What is none would fail somewhere inside safetensors.
        if not isinstance(tensors, Mapping):
            raise ConfigError(f"tensors come by name, got {type(tensors).__name__}")
        ready = {}
        for name, tensor in tensors.items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor):
                raise ConfigError(f"a token cache keeps tensors by name, {name!r} is none")
            # A clone, because safetensors refuses views of one storage under two names.
            ready[name] = self._narrow(tensor).detach().cpu().contiguous().clone()
        note = note_of(ready, label, content)
        write_atomically(self.file(key), save(ready, metadata={"note": note.to_json()}))

    def note(self, key: str) -> Note | None:
        """What is noted about a key's file; None if there is no file, an empty note if it has none.

        Raises:
            SafetensorError: If the file is damaged.
            ConfigError: If it is no regular file.
        """
        _must_not_wait(self.file(key))
        try:
            # Opens the header alone; no tensor is read.
            with safe_open(self.file(key), framework="pt") as file:
                text = (file.metadata() or {}).get("note")
                names = tuple(sorted(file.keys()))
        except FileNotFoundError:
            return None
        if text is None:
            # Older versions noted nothing.
            return Note(names=names)
        try:
            return Note.from_json(text)
        except ValueError as error:
            # To whoever asks, a file with a broken note is a damaged file.
            raise SafetensorError(str(error)) from error

    def file_keys(self) -> Iterator[str]:
        """Keys that have a file of their own, in order."""
        for file in sorted(self.folder.glob("??/*.safetensors")):
            if KEY.fullmatch(file.stem):
                yield file.stem

    def keys(self) -> set[str]:
        """All keys."""
        return {*self.file_keys(), *self.packed.entries()}

    def fail(self, key: str, reason: str) -> None:
        """Note that no tensors can be made for a key, and why."""
        write_atomically(self._failed(key), json.dumps({"reason": reason}).encode())

    def failure(self, key: str) -> str | None:
        """Why no tensors can be made for a key, if somebody has noted it."""
        _must_not_wait(self._failed(key))
        try:
            return str(parse_json(self._failed(key).read_bytes())["reason"])
        # A note that cannot be read is none: then the clip is tried again.
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget_failure(self, key: str) -> None:
        """Take such a note back."""
        self._failed(key).unlink(missing_ok=True)

    def file(self, key: str) -> Path:
        """Where a key lives: 256 subfolders keep directories small.

        Raises:
            ConfigError: If it is no key.
        """
        return self.folder / _checked(key)[:2] / f"{key}.safetensors"

    # Old names of two methods; modules and functions have theirs in `pave.moved`.
    def loose(self, key: str) -> Path:
        """`file` by its old name, from when entries were single files or packed."""
        warnings.warn("TokenCache.loose is called file now", DeprecationWarning, stacklevel=2)
        return self.file(key)

    def loose_keys(self) -> Iterator[str]:
        """`file_keys` by its old name."""
        renamed = "TokenCache.loose_keys is called file_keys now"
        warnings.warn(renamed, DeprecationWarning, stacklevel=2)
        return self.file_keys()

    def _read(self, key: str) -> dict[str, Tensor] | None:
        """The tensors in a key's own file, mapped into memory."""
        file = self.file(key)
        _must_not_wait(file)
        try:
            # Not looked for first: another process may remove it in between.
            seen = os.stat(file)
            return load_file(file)
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            logger.warning(
                "%s is damaged (%s); it is removed, and its tensors will be computed again",
                file,
                error,
            )
            # Left there, `contains` would go on saying yes and nobody would make it anew.
            with suppress(OSError):  # on a read-only disk it stays, and whoever puts anew is told
                remove_unless_new(file, seen)
            return None

    def _failed(self, key: str) -> Path:
        return self.folder / "failed" / f"{_checked(key)}.json"

    def _agree(self, wanted: torch.dtype | None) -> torch.dtype | None:
        """The type that is kept: the one noted in the folder, or the wanted one, then noted."""
        kept = kept_dtype(self.folder)
        if wanted is None or wanted == kept:
            return kept
        # With two types in one cache, results would depend on which entries were there before.
        if kept is not None or holds_entries(self.folder):
            was = "tensors as they were given" if kept is None else str(kept)
            raise ConfigError(
                f"the token cache {self.folder} stores {was}, not {wanted}; use that type, or "
                "another folder"
            )
        settings = {"dtype": str(wanted).removeprefix("torch.")}
        write_atomically(self.folder / SETTINGS, json.dumps(settings).encode())
        return wanted

    def _narrow(self, tensor: Tensor) -> Tensor:
        """The tensor in the type that is kept."""
        # In bf16, times above 128 s would be whole seconds.
        if self.dtype is None or not tensor.is_floating_point() or tensor.dtype == torch.float64:
            return tensor
        return tensor.to(self.dtype)


def is_cache(folder: Path) -> bool:
    """Whether a folder is a token cache: it holds a part of one, or nothing yet."""
    if not folder.is_dir():
        return False
    names = [path.name for path in entries_of(folder)]
    return not names or any(PARTS.fullmatch(name) for name in names)


def holds_entries(folder: Path) -> bool:
    """Whether there is any entry in a token cache, as a single file or packed."""
    for pattern in ("??/*.safetensors", "shards/*.safetensors"):
        if any(not is_clutter(path.name) for path in folder.glob(pattern)):
            return True
    return False


def kept_dtype(folder: Path) -> torch.dtype | None:
    """The type that a cache was made with; None if none was chosen, or there is no cache.

    Raises:
        ConfigError: If the cache's settings cannot be read.
    """
    file = folder / SETTINGS
    _must_not_wait(file)
    try:
        name = parse_json(file.read_bytes())["dtype"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be used as a token cache ({error.strerror}); choose another folder"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}); delete it if the token cache is empty"
        ) from error
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(
            f"{file} names no type of tensors: {name!r}; delete it if the token cache is empty"
        )
    return dtype


def _must_not_wait(file: Path) -> None:
    """Refuse a folder, pipe or device in the place of a file of ours: to open one may be to wait.

    Raises:
        ConfigError: If there is one.
    """
    # Not `exists`, for which a link to itself is nothing.
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return  # there is nothing; whoever opens it says why
    except OSError:
        pass  # said in words below
    try:
        regular_file(file, ConfigError)
    except ConfigError as error:
        raise ConfigError(f"{error}; remove it, and it is made again") from error


def _checked(key: str) -> str:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ConfigError(f"not a token cache key: {key!r}; make one with TokenCache.key()")
    return key
