"""`TokenCache`: a folder of tensors by content, that any number of processes may read and write at once.

A key names content, not a place: SHA-256 of the media's bytes and of the settings that turned them
into tensors. So a store can be copied between machines, and changing a setting never gives stale
tensors.

    ab/<key>.safetensors       one entry, as `put` writes it: a killed writer can lose only its own clip
    shards/<name>.safetensors  about 200 entries, packed from such files by `pave.cache.upkeep.pack`
    failed/<key>.json          why no tensors can be made for a key
    store.json                 the type that floating tensors are kept in, where one was chosen
    digests/, leases/          remembered hashes of media files; who is at work

Every file is written under another name and renamed into place, so readers need no lock. An entry
is packed by first putting the shard in place and then removing the single file; it is therefore
always in one form or the other, for a moment in both.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from pave.cache.digest import Source, canonical_json, content_digest, digest_bytes_of
from pave.cache.entry import Note, note_of
from pave.cache.shards import Shards
from pave.errors import ConfigError
from pave.files import write_atomically

logger = logging.getLogger(__name__)

KEY = re.compile(r"[0-9a-f]{64}")
# A file changed this recently may change again within its timestamp's grain: its hash is not
# remembered yet.
SETTLED_SECONDS = 2.0
SETTINGS = "store.json"
PARTS = re.compile(r"[0-9a-f]{2}|shards|failed|digests|leases|" + re.escape(SETTINGS))


class TokenCache:
    """Tensors on disk by content key.

    Args:
        folder: Where the store lives; made when missing. Safe to delete at any time.
        dtype: Keep floating tensors in this type (`torch.bfloat16` halves the store). A store
            remembers the type that it was made with, and everybody who opens it without naming one
            keeps to it; a store for which none was named keeps tensors as given. float64 tensors,
            which hold times, are never narrowed.

    Raises:
        ConfigError: If the type is no floating type, or the store was made with another one.

    Example:
        >>> store = TokenCache("cache")  # doctest: +SKIP
        >>> key = store.key("concert.mp4", {"encoder": "mel", "rate": 16000})  # doctest: +SKIP
        >>> store.put(key, {"values": torch.zeros(3, 1, 8)})  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        if dtype is not None and not dtype.is_floating_point:
            raise ConfigError(
                f"a store keeps floating tensors, {dtype} is none; use torch.bfloat16 or "
                "torch.float32"
            )
        self.folder = Path(folder)
        self.dtype = self._agree(dtype)
        self.shards = Shards(self.folder / "shards")
        self._digests: dict[str, tuple[int, int, str]] = {}

    def content(self, source: Source) -> str:
        """Digest of a source's content; hashes of unchanged files are remembered.

        Raises:
            MediaError: If a file cannot be read.
        """
        return content_digest(source, self._digest_file)

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
            return hashlib.sha256(f"{content}\n{canonical_json(settings)}".encode()).hexdigest()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"store settings must be plain JSON values: {error}") from error

    def contains(self, key: str) -> bool:
        """Whether there is something for the key (it is read only by `get`)."""
        return self.loose(key).is_file() or self.shards.contains(key)

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key, or None if there are none.

        A damaged single file is removed with a warning and counts as none; so does a damaged shard,
        which stays for `pave store verify` to look at.
        """
        file = self.loose(key)
        try:
            return load_file(file)
        except FileNotFoundError:
            return self.shards.get(key)
        except SafetensorError as error:
            logger.warning(
                "%s is damaged (%s); removed, its tensors will be computed again", file, error
            )
            file.unlink(missing_ok=True)
            return self.shards.get(key)

    def put(
        self, key: str, tensors: Mapping[str, Tensor], *, label: str = "", content: str = ""
    ) -> None:
        """Keep tensors under a key, whole or not at all; an older value is replaced.

        Args:
            key: From `key`.
            tensors: What to keep.
            label: What made them, e.g. "audio/mel", for people who look into the store.
            content: Digest of the media they were made from, so that tokens of other media can be
                found and removed.
        """
        ready = {
            name: self._narrow(tensor).detach().cpu().contiguous().clone()
            for name, tensor in tensors.items()
        }
        note = note_of(ready, label, content)
        write_atomically(self.loose(key), save(ready, metadata={"note": note.to_json()}))

    def note(self, key: str) -> Note | None:
        """What is noted about a key that is kept as a single file; None if there is none, an empty note if it has none.

        Raises:
            SafetensorError: If the file is damaged.
        """
        try:
            with safe_open(self.loose(key), framework="pt") as file:
                text = (file.metadata() or {}).get("note")
                return Note.from_json(text) if text else Note(names=tuple(sorted(file.keys())))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise SafetensorError(str(error)) from error

    def loose_keys(self) -> Iterator[str]:
        """Keys that are kept as single files, in order."""
        for file in sorted(self.folder.glob("??/*.safetensors")):
            if KEY.fullmatch(file.stem):
                yield file.stem

    def keys(self) -> set[str]:
        """All keys."""
        loose = set(self.loose_keys())  # first: what is packed in between is then found below
        self.shards.refresh()
        return loose | {key for notes in self.shards.notes().values() for key in notes}

    def fail(self, key: str, reason: str) -> None:
        """Note that no tensors can be made for a key, and why."""
        write_atomically(self._failed(key), json.dumps({"reason": reason}).encode())

    def failure(self, key: str) -> str | None:
        """Why no tensors can be made for a key, if somebody has noted it."""
        try:
            return str(json.loads(self._failed(key).read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget_failure(self, key: str) -> None:
        """Take such a note back."""
        self._failed(key).unlink(missing_ok=True)

    def loose(self, key: str) -> Path:
        """Where a key lives as a single file: 256 subfolders keep directories small.

        Raises:
            ConfigError: If it is no key.
        """
        return self.folder / _checked(key)[:2] / f"{key}.safetensors"

    def _failed(self, key: str) -> Path:
        return self.folder / "failed" / f"{_checked(key)}.json"

    def _agree(self, wanted: torch.dtype | None) -> torch.dtype | None:
        """The type that this store keeps: the one it was made with, or the wanted one, which is then noted."""
        kept = kept_dtype(self.folder)
        if wanted is None or wanted == kept:
            return kept
        if (
            kept is not None
            or next(self.loose_keys(), None)
            or any(self.folder.glob("shards/*.safetensors"))
        ):
            was = "tensors as they were given" if kept is None else str(kept)
            raise ConfigError(
                f"the store {self.folder} keeps {was}, not {wanted}; use that, or another folder"
            )
        write_atomically(
            self.folder / SETTINGS,
            json.dumps({"dtype": str(wanted).removeprefix("torch.")}).encode(),
        )
        return wanted

    def _narrow(self, tensor: Tensor) -> Tensor:
        """The type that is kept."""
        keep = self.dtype is None or not tensor.is_floating_point() or tensor.dtype == torch.float64
        return tensor if keep else tensor.to(self.dtype)

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
            write_atomically(note, json.dumps(self._digests[path]).encode())
        return digest


def is_store(folder: Path) -> bool:
    """Whether a folder is a store: it holds a part of one, or nothing yet."""
    if not folder.is_dir():
        return False
    names = [path.name for path in folder.iterdir()]
    return not names or any(PARTS.fullmatch(name) for name in names)


def kept_dtype(folder: Path) -> torch.dtype | None:
    """The type that a store was made with; None if none was chosen, or there is no store.

    Raises:
        ConfigError: If the store's settings cannot be read.
    """
    try:
        name = json.loads((folder / SETTINGS).read_bytes())["dtype"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be a store ({error.strerror}); a store is a folder, choose another "
            "path"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder / SETTINGS} cannot be read ({error}); delete it if the store is empty"
        ) from error
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(f"{folder / SETTINGS} names no type of tensors: {name!r}")
    return dtype


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise ConfigError(f"not a store key: {key!r}; make one with TokenCache.key()")
    return key


def _read_note(note: Path) -> tuple[int, int, str] | None:
    """A remembered hash; anything unreadable counts as none."""
    try:
        size, mtime, digest = json.loads(note.read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    whole = (
        isinstance(size, int)
        and isinstance(mtime, int)
        and isinstance(digest, str)
        and KEY.fullmatch(digest) is not None
    )
    return (size, mtime, digest) if whole else None
