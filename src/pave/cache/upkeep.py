"""Upkeep of a store: pack single files into shards, check what is there, remove what is not wanted, join stores.

Whatever moves entries does it under one lease, so that two processes never move the same ones;
reading and writing go on meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pave.cache.entry import Note, checksum, note_of
from pave.cache.lease import Leases, file_clock
from pave.cache.shards import MOST_BYTES, MOST_ENTRIES, write_shards
from pave.cache.store import TokenCache
from pave.errors import ConfigError
from pave.files import UNFINISHED, write_atomically

logger = logging.getLogger(__name__)

LOCK = "upkeep"
LEFT_OVER_SECONDS = 3600.0  # no file takes this long to be written

Entry = tuple[str, Note, Mapping[str, Tensor]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Listed:
    """One entry, as `list_entries` tells it.

    Attributes:
        key: Its key.
        label: What made it.
        content: Digest of the media it was made from.
        bytes: Size of its tensors.
        place: The file it is in, relative to the store.
    """

    key: str
    label: str
    content: str
    bytes: int
    place: str


@dataclass(frozen=True)
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
        duplicates: Copies of entries that are also elsewhere in the store.
        left_over: Unfinished files and leases of processes that were killed.
        shards_joined: Small shards that became part of larger ones.
        bytes: Bytes freed.
    """

    entries: int = 0
    duplicates: int = 0
    left_over: int = 0
    shards_joined: int = 0
    bytes: int = field(default=0)


def pack(store: TokenCache, *, wait: bool = True) -> int:
    """Move single files into shards.

    Args:
        store: The store.
        wait: Wait while another process packs; otherwise leave it to that one.

    Returns:
        Number of entries moved.
    """
    with Leases(store.folder / "leases") as leases, leases.hold(LOCK, wait=wait) as held:
        return _pack(store) if held else 0


def list_entries(store: TokenCache) -> list[Listed]:
    """Every entry, single files first."""
    found = []
    for key in store.loose_keys():
        with contextlib.suppress(SafetensorError):
            note = store.note(key)
            if note is not None:
                found.append(_listed(key, note, store.loose(key), store))
    store.shards.refresh()
    seen = {entry.key for entry in found}
    for name, notes in sorted(store.shards.notes().items()):
        found += [
            _listed(key, note, store.shards.folder / name, store)
            for key, note in sorted(notes.items())
            if key not in seen
        ]
        seen |= notes.keys()
    return found


def stats(store: TokenCache) -> dict[str, object]:
    """What is in a store, in numbers: entries and bytes in all and by label, how they are kept, known failures."""
    entries = list_entries(store)
    count, size = Counter(entry.label for entry in entries), Counter[str]()
    for entry in entries:
        size[entry.label] += entry.bytes
    return {
        "folder": str(store.folder),
        "dtype": "as given" if store.dtype is None else str(store.dtype).removeprefix("torch."),
        "entries": len(entries),
        "bytes": sum(size.values()),
        "shards": len(store.shards.notes()),
        "single_files": sum(not entry.place.startswith("shards/") for entry in entries),
        "failures": sum(1 for _ in store.folder.glob("failed/*.json")),
        "by_label": {
            label: {"entries": count[label], "bytes": size[label]} for label in sorted(count)
        },
    }


def verify(
    store: TokenCache, *, remove: bool = False, progress: Progress | None = None
) -> VerifyReport:
    """Read every tensor and compare it with the checksum that was taken when it was written.

    Args:
        store: The store.
        remove: Remove what is damaged, so that it is computed again when it is needed.
        progress: Called with (entries done, entries).
    """
    loose = list(store.loose_keys())
    store.shards.refresh()
    packed = [
        (name, key) for name, notes in sorted(store.shards.notes().items()) for key in sorted(notes)
    ]
    damaged: dict[Path, set[str]] = {
        store.shards.folder / name: set() for name in store.shards.unreadable()
    }
    lines = [f"{_inside(store, path)}: cannot be opened" for path in damaged]
    checked = unchecked = size = 0
    for done, (name, key) in enumerate([*(("", key) for key in loose), *packed], 1):
        path = store.shards.folder / name if name else store.loose(key)
        try:
            note, tensors = _load(store, name, key)
        except FileNotFoundError:
            continue  # packed or removed since
        except (SafetensorError, OSError, KeyError) as error:
            note, tensors, problem = Note(), {}, f"cannot be read ({error})"
        else:
            problem = (
                "does not have the checksum it was written with" if _differs(note, tensors) else ""
            )
        if problem:
            lines.append(f"{_inside(store, path)}: {key} {problem}")
            damaged.setdefault(path, set()).add(key)
        else:
            checked, unchecked = checked + bool(note.sha256), unchecked + (not note.sha256)
            size += sum(tensor.nbytes for tensor in tensors.values())
        if progress:
            progress(done, len(loose) + len(packed))
    if remove and damaged:
        _remove_damaged(store, damaged)
    return VerifyReport(checked, unchecked, size, lines, remove)


def gc(
    store: TokenCache, *, drop: Collection[str] = (), keep: Collection[str] | None = None
) -> GcReport:
    """Remove what nobody needs: left-overs of killed writers, second copies, and entries that are named; join small shards.

    Args:
        store: The store.
        drop: Labels of entries to remove, e.g. "audio/mel".
        keep: Content digests (`TokenCache.content`); entries made from other media are removed.
            Entries that do not say what they were made from stay. None: all stay.
    """

    def unwanted(note: Note) -> bool:
        return note.label in drop or (
            keep is not None and bool(note.content) and note.content not in keep
        )

    before = _size(store.folder)
    report = GcReport(left_over=_sweep(store))
    with Leases(store.folder / "leases") as leases, leases.hold(LOCK):
        report.entries += _drop_loose(store, unwanted)
        store.shards.refresh()
        report.duplicates += _drop_copies(store)
        again, seen = set(), set[str]()
        for name, notes in store.shards.notes().items():
            gone = {key for key, note in notes.items() if unwanted(note)}
            twice = {key for key in notes if key in seen} - gone
            seen |= notes.keys()
            report.entries, report.duplicates = (
                report.entries + len(gone),
                report.duplicates + len(twice),
            )
            if gone or twice:
                again.add(name)
        small = [name for name, notes in store.shards.notes().items() if _is_small(notes)]
        if len(small) > 1:
            report.shards_joined = len(small)
            again |= set(small)
        _rewrite(store, sorted(again), lambda key, note: not unwanted(note))
    for note_file in store.folder.glob("failed/*.json") if drop or keep is not None else ():
        note_file.unlink(
            missing_ok=True
        )  # they do not say what they belong to, and cost one try each
    report.bytes = max(0, before - _size(store.folder))
    return report


def merge(
    into: TokenCache, sources: Sequence[TokenCache], *, progress: Progress | None = None
) -> int:
    """Copy entries of other stores that this one lacks, and the failures they know of.

    Args:
        into: The store that grows.
        sources: Stores made with the same type of tensors.
        progress: Called with (stores done, stores).

    Returns:
        Number of entries copied. Those that cannot be read are left out, with a warning.

    Raises:
        ConfigError: If a store keeps another type, is the same store, or holds nothing.
    """
    for source in sources:
        if source.folder.resolve() == into.folder.resolve():
            raise ConfigError(f"{source.folder} cannot be merged into itself")
        if source.dtype != into.dtype:
            raise ConfigError(
                f"{source.folder} keeps {source.dtype}, {into.folder} keeps {into.dtype}; extract "
                "with one type"
            )
        if not source.keys() and not any(source.folder.glob("failed/*.json")):
            raise ConfigError(f"{source.folder} holds no tokens; check the path")
    copied = 0
    with Leases(into.folder / "leases") as leases, leases.hold(LOCK):
        for done, source in enumerate(sources, 1):
            lacking = sorted(source.keys() - into.keys())
            write_shards(into.shards.folder, _entries(source, lacking))
            into.shards.refresh()
            copied += len(into.keys().intersection(lacking))  # what cannot be read was left out
            for note in source.folder.glob("failed/*.json"):
                write_atomically(into.folder / "failed" / note.name, note.read_bytes())
            if progress:
                progress(done, len(sources))
    return copied


def _pack(store: TokenCache) -> int:
    """Under the lease: write shards, then remove the files they were made from."""
    store.shards.refresh()
    _drop_copies(store)
    by_label: dict[str, list[str]] = {}
    for key in store.loose_keys():
        try:
            note = store.note(key)
        except SafetensorError:
            store.get(key)  # warns and removes
            continue
        if note is not None:
            by_label.setdefault(note.label, []).append(key)
    moved = 0
    for _, keys in sorted(by_label.items()):
        for start in range(0, len(keys), MOST_ENTRIES):
            some = keys[start : start + MOST_ENTRIES]
            write_shards(store.shards.folder, _entries(store, some))
            store.shards.refresh()
            for key in some:
                if store.shards.contains(key):
                    store.loose(key).unlink(missing_ok=True)
                    moved += 1
    return moved


def _entries(store: TokenCache, keys: Sequence[str]) -> Iterator[Entry]:
    """Entries for `write_shards`; those that cannot be read are left where they are, with a warning."""
    for key in keys:
        try:
            note, tensors = _load(
                store, "" if store.loose(key).is_file() else store.shards.place(key) or "", key
            )
            if _differs(note, tensors):
                raise SafetensorError("it does not have the checksum it was written with")
        except (SafetensorError, OSError, KeyError) as error:
            logger.warning("%s of %s cannot be read (%s); left out", key, store.folder, error)
            continue
        yield key, note if note.sha256 else note_of(tensors, note.label, note.content), tensors


def _load(store: TokenCache, shard: str, key: str) -> tuple[Note, Mapping[str, Tensor]]:
    """Note and tensors from a shard, or from a single file where no shard is named."""
    if shard:
        return store.shards.notes()[shard][key], store.shards.read(shard, key)
    note = store.note(key)
    if note is None:
        raise FileNotFoundError(key)
    return note, load_file(store.loose(key))


def _differs(note: Note, tensors: Mapping[str, Tensor]) -> bool:
    return bool(note.sha256) and checksum(tensors) != note.sha256


def _remove_damaged(store: TokenCache, damaged: Mapping[Path, set[str]]) -> None:
    with Leases(store.folder / "leases") as leases, leases.hold(LOCK):
        for path, keys in damaged.items():
            readable = path.name in store.shards.notes() and path.parent == store.shards.folder
            if readable:
                _rewrite(store, [path.name], lambda key, _, bad=keys: key not in bad)  # type: ignore[misc]
            else:
                path.unlink(missing_ok=True)
    store.shards.refresh()


def _rewrite(store: TokenCache, shards: Sequence[str], wanted: Callable[[str, Note], bool]) -> None:
    """Put the wanted entries of some shards into new ones, then remove the old ones."""
    notes = store.shards.notes()
    kept = {key: name for name in shards for key, note in notes[name].items() if wanted(key, note)}
    elsewhere = {key for name in notes.keys() - set(shards) for key in notes[name]}

    def entries() -> Iterator[Entry]:
        for key, name in sorted(kept.items()):
            if key not in elsewhere:
                yield key, notes[name][key], store.shards.read(name, key)

    written = write_shards(store.shards.folder, entries())
    for name in set(shards) - set(written):
        (store.shards.folder / name).unlink(missing_ok=True)
    store.shards.refresh()


def _drop_loose(store: TokenCache, unwanted: Callable[[Note], bool]) -> int:
    removed = 0
    for key in list(store.loose_keys()):
        with contextlib.suppress(SafetensorError):
            note = store.note(key)
            if note is not None and unwanted(note):
                store.loose(key).unlink(missing_ok=True)
                removed += 1
    return removed


def _drop_copies(store: TokenCache) -> int:
    """Settle keys that are both packed and single files; how many of the latter went.

    One of a process that was killed between packing it and removing it holds the same and goes. One
    that holds something else was put since, perhaps because the packed one is damaged: readers
    already prefer it, so the packed one goes.
    """
    removed, older = 0, dict[str, set[str]]()
    for key in [key for key in store.loose_keys() if store.shards.contains(key)]:
        shards = [name for name, notes in store.shards.notes().items() if key in notes]
        if _holds(store, "", key) in (None, *(_holds(store, shard, key) for shard in shards)):
            store.loose(key).unlink(missing_ok=True)
            removed += 1
            continue
        for shard in shards:
            older.setdefault(shard, set()).add(key)
    for shard, keys in older.items():
        _rewrite(store, [shard], lambda key, _, old=keys: key not in old)  # type: ignore[misc]
    return removed


def _holds(store: TokenCache, shard: str, key: str) -> str | None:
    """Checksum of what a shard, or a single file, holds for a key; None if it cannot be read."""
    try:
        return checksum(_load(store, shard, key)[1])
    except (SafetensorError, OSError, KeyError):
        return None


def _is_small(notes: Mapping[str, Note]) -> bool:
    return (
        len(notes) < MOST_ENTRIES // 2
        and sum(note.bytes for note in notes.values()) < MOST_BYTES // 2
    )


def _sweep(store: TokenCache) -> int:
    """Files that killed processes left behind. Live leases are renewed, so none of them is old."""
    if not store.folder.is_dir():
        return 0
    now = file_clock(store.folder)
    old = [*store.folder.rglob(f"{UNFINISHED}*"), *store.folder.glob("leases/*")]
    removed = 0
    for path in old:
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > LEFT_OVER_SECONDS:
                path.unlink()
                removed += 1
    return removed


def _listed(key: str, note: Note, path: Path, store: TokenCache) -> Listed:
    return Listed(key, note.label, note.content, note.bytes, _inside(store, path))


def _inside(store: TokenCache, path: Path) -> str:
    return path.relative_to(store.folder).as_posix()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
