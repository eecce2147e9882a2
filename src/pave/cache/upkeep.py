"""Upkeep of a token cache: list, count, verify, clean up, join.

Nothing here needs a lock: every step puts one whole file in place or removes one, so that others
may read and write meanwhile, and two processes that do the same do it twice at worst.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pave.cache.entry import Note
from pave.cache.token_cache import TokenCache
from pave.errors import ConfigError
from pave.files import UNFINISHED, clear_left_overs, remove_unless_new, write_atomically

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Listed:
    """One entry, as `list_entries` tells it.

    Attributes:
        key: Its key.
        label: What made it.
        content: Digest of the media it was made from.
        bytes: Size of its tensors.
        place: The file it is in, relative to the cache.
    """

    key: str
    label: str
    content: str
    bytes: int
    place: str


@dataclass
class VerifyReport:
    """What `verify` found.

    Attributes:
        checked: Entries whose tensors were read and compared with their checksum.
        unchecked: Entries that can be read but carry no checksum (written by an older version).
        bytes: Bytes of tensors read.
        damaged: One line for each damaged entry or file.
        removed: Whether they were removed.
    """

    checked: int
    unchecked: int
    bytes: int
    damaged: list[str]
    removed: bool


@dataclass
class GcReport:
    """What `gc` removed.

    Attributes:
        entries: Entries that were asked to go.
        unpacked: Entries of shards, which older versions wrote, that are single files now.
        left_over: Unfinished files of processes that were killed.
        bytes: Bytes freed.
    """

    entries: int
    unpacked: int
    left_over: int
    bytes: int


def list_entries(cache: TokenCache) -> list[Listed]:
    """Every readable entry, single files first."""
    found = []
    for key, note in _notes(cache):
        place = _inside(cache, cache.file(key))
        found.append(Listed(key, note.label, note.content, note.bytes, place))
    single = {entry.key for entry in found}
    for key, (shard, note) in sorted(cache.packed.entries().items()):
        if key not in single:
            place = _inside(cache, shard)
            found.append(Listed(key, note.label, note.content, note.bytes, place))
    return found


def stats(cache: TokenCache) -> dict[str, object]:
    """What is in a cache, in numbers: entries and bytes in all and by label, known failures."""
    entries = list_entries(cache)
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    packed = 0
    for entry in entries:
        packed += entry.place.startswith("shards/")
        count[entry.label] += 1
        size[entry.label] += entry.bytes
    by_label = {}
    for label in sorted(count):
        by_label[label] = {"entries": count[label], "bytes": size[label]}
    return {
        "folder": str(cache.folder),
        "dtype": "as given" if cache.dtype is None else str(cache.dtype).removeprefix("torch."),
        "entries": len(entries),
        "bytes": size.total(),
        "packed": packed,
        "failures": len(list(cache.folder.glob("failed/*.json"))),
        "by_label": by_label,
    }


def verify(
    cache: TokenCache, *, remove: bool = False, progress: Progress | None = None
) -> VerifyReport:
    """Read every tensor and compare it with the checksum that was taken when it was written.

    Args:
        cache: The cache.
        remove: Remove what is damaged, so that it is computed again when it is needed.
        progress: Called with (entries done, entries).
    """
    keys = sorted(cache.keys())
    report = VerifyReport(0, 0, 0, [], remove)
    for shard in cache.packed.damaged:
        report.damaged.append(f"{_inside(cache, shard)}: cannot be opened")
    for done, key in enumerate(keys, 1):
        seen = _stat(cache.file(key))
        found = _look(cache, key)
        if found is not None:
            _count(report, found, f"{_inside(cache, found.place)}: {key}")
            if remove and found.problem and found.place == cache.file(key) and seen is not None:
                remove_unless_new(found.place, seen)
        if progress:
            progress(done, len(keys))
    if remove and report.damaged:
        shards = _shards(cache)
        unpack(cache)
        # No entry can be taken out of a shard: the good ones have left it, now it goes.
        for shard in shards:
            shard.unlink(missing_ok=True)
        cache.packed.forget()
    return report


def gc(
    cache: TokenCache, *, drop: Collection[str] = (), keep: Collection[str] | None = None
) -> GcReport:
    """Remove what nobody needs: left-overs of killed writers, and entries that are named.

    Entries that an older version packed into shards become single files.

    Args:
        cache: The cache.
        drop: Labels of entries to remove, e.g. "audio/mel".
        keep: Content digests (`TokenCache.content`); entries made from other media are removed.
            Entries that do not say what they were made from stay. None: all stay.
    """
    before = _size(cache.folder)
    left_over = _sweep(cache)
    unpacked = unpack(cache)
    entries = 0
    for key, note in _notes(cache):
        # An entry that does not say what it was made from may be anybody's.
        foreign = keep is not None and note.content != "" and note.content not in keep
        if foreign or note.label in drop:
            cache.file(key).unlink(missing_ok=True)
            entries += 1
    if drop or keep is not None:
        # Notes of failures do not say what they belong to, and cost one try each.
        for failed in cache.folder.glob("failed/*.json"):
            if not failed.is_dir():
                failed.unlink(missing_ok=True)
    return GcReport(entries, unpacked, left_over, max(0, before - _size(cache.folder)))


def unpack(cache: TokenCache) -> int:
    """Make single files of what an older version packed into shards, and remove the shards.

    An entry that has its own file already keeps that one, which is newer. A shard with a damaged
    entry stays, with a warning; `verify` removes it.

    Returns:
        Number of entries that got a file.
    """
    cache.packed.forget()
    unpacked = 0
    entries = cache.packed.entries()
    bad = set(cache.packed.damaged)
    shards = _shards(cache)
    for key, (shard, _) in sorted(entries.items()):
        if cache.file(key).is_file():
            continue
        if _copy(cache, cache, key):
            unpacked += 1
        else:
            bad.add(shard)
    # Only now: a killed call leaves the shards, and the next one does the rest. None that an older
    # pave has written meanwhile.
    for shard in shards - bad:
        shard.unlink(missing_ok=True)
    cache.packed.forget()
    return unpacked


def merge(
    into: TokenCache, sources: Sequence[TokenCache], *, progress: Progress | None = None
) -> int:
    """Copy entries of other caches that this one lacks, and the failures they know of.

    Args:
        into: The cache that grows.
        sources: Caches made with the same type of tensors.
        progress: Called with (caches done, caches).

    Returns:
        Number of entries copied. Those that cannot be read are left out, with a warning.

    Raises:
        ConfigError: If a cache keeps another type, is the same cache, or holds nothing.
    """
    for source in sources:
        _must_fit(into, source)
    copied = 0
    for done, source in enumerate(sources, 1):
        for key in sorted(source.keys() - into.keys()):
            copied += _copy(source, into, key)
        for failed in source.folder.glob("failed/*.json"):
            if not failed.is_file():  # to open a pipe is to wait for it
                continue
            write_atomically(into.folder / "failed" / failed.name, failed.read_bytes())
        if progress:
            progress(done, len(sources))
    return copied


def _must_fit(into: TokenCache, source: TokenCache) -> None:
    """Refuse to merge what cannot be merged."""
    if source.folder.resolve() == into.folder.resolve():
        raise ConfigError(f"{source.folder} cannot be merged into itself; name another cache")
    if source.dtype != into.dtype:
        raise ConfigError(
            f"{source.folder} stores {source.dtype}, but {into.folder} stores {into.dtype}; "
            "extract both with one type"
        )
    if not source.keys() and not any(source.folder.glob("failed/*.json")):
        raise ConfigError(f"{source.folder} is an empty token cache; check the path")


@dataclass(frozen=True)
class _Found:
    """An entry as it was read.

    Attributes:
        place: Its own file, or the shard it is in.
        note: What is noted of it.
        tensors: What it holds.
        problem: What is wrong with it; empty where nothing is.
    """

    place: Path
    note: Note
    tensors: Mapping[str, Tensor]
    problem: str = ""


def _look(cache: TokenCache, key: str) -> _Found | None:
    """Read an entry and compare it with its note; None if it was removed since it was listed."""
    place, note, tensors = cache.file(key), Note(), dict[str, Tensor]()
    try:
        own = cache.note(key)
        # A file of its own is newer than what a shard holds.
        if own is not None:
            note, tensors = own, load_file(place)
        elif key in cache.packed.entries():
            place, note = cache.packed.entries()[key]
            tensors = cache.packed.get(key) or {}
        else:
            return None
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError) as error:
        return _Found(place, note, tensors, f"cannot be read ({error})")
    if not note.fits(tensors):
        problem = "does not match the checksum that was stored with it"
        return _Found(place, note, tensors, problem)
    return _Found(place, note, tensors)


def _count(report: VerifyReport, found: _Found, name: str) -> None:
    """Add one entry to what `verify` found."""
    if found.problem:
        report.damaged.append(f"{name} {found.problem}")
        return
    report.bytes += sum(tensor.nbytes for tensor in found.tensors.values())
    if found.note.sha256:
        report.checked += 1
    else:
        report.unchecked += 1


def _copy(source: TokenCache, into: TokenCache, key: str) -> bool:
    """Put an entry into a cache under the same key, unless it is damaged; whether it was put."""
    found = _look(source, key)
    if found is None:
        return False
    if found.problem:
        logger.warning("%s: %s %s; left out", found.place, key, found.problem)
        return False
    into.put(key, found.tensors, label=found.note.label, content=found.note.content)
    return True


def _notes(cache: TokenCache) -> Iterator[tuple[str, Note]]:
    """Keys and notes of all single files that can be read."""
    for key in cache.file_keys():
        # A damaged file is `verify`'s business; one that goes meanwhile is nobody's.
        with contextlib.suppress(SafetensorError, FileNotFoundError):
            note = cache.note(key)
            if note is not None:
                yield key, note


def _sweep(cache: TokenCache) -> int:
    """Remove files and folders that killed processes left behind; how many."""
    left = [*cache.folder.rglob(f"{UNFINISHED}*")]
    # Older versions wrote a file for each piece of work in progress.
    left += cache.folder.glob("leases/*")
    return clear_left_overs(left)


def _shards(cache: TokenCache) -> set[Path]:
    """The shards that were looked into."""
    found = set(cache.packed.damaged)
    for shard, _ in cache.packed.entries().values():
        found.add(shard)
    return found


def _stat(file: Path) -> os.stat_result | None:
    """What the system says of a file; None where there is none."""
    try:
        return os.stat(file)
    except OSError:
        return None


def _inside(cache: TokenCache, path: Path) -> str:
    return path.relative_to(cache.folder).as_posix()


def _size(folder: Path) -> int:
    """Bytes of all files in a folder; one that goes meanwhile counts as none."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                size += path.stat().st_size
    return size
