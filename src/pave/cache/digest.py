"""What a media source *is*: a hash of its bytes.

A clip stays the same clip under any name and on any machine, and a changed file is another clip.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import posixpath
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.errors import MediaError
from pave.files import regular_file, sha256_of, write_atomically
from pave.media.archive import archive_of, member_digest, split_member
from pave.texts import parse_json

logger = logging.getLogger(__name__)

# A file changed this recently may change again within its timestamp's grain: its hash is not
# remembered yet.
SETTLED_SECONDS = 2.0
MOST_FILES = 1_000_000
"""Files of one source; a link to the root of a disk would have it hashed."""
_SHA256 = re.compile(r"[0-9a-f]{64}")

Source = str | Path | Sequence[str | Path] | Mapping[str, Any]
"""Where a channel's raw media is.

A file, a folder, several files (views), or a mapping of files and settings (a 3D scene).
"""

DigestFile = Callable[[Path], str]


def content_digest(source: Source, digest_file: DigestFile | None = None) -> str:
    """SHA-256 of what a source contains.

    A file counts by its bytes, a folder by the names and bytes of its files (links are followed, as
    readers follow them), a list by its items in order, a mapping by its keys and values; a
    mapping's value that is no existing path counts as it is written.

    Args:
        source: The source.
        digest_file: How to hash one file, if not by reading it (a token cache remembers the hashes
            of unchanged files).

    Returns:
        64 hexadecimal digits.

    Raises:
        MediaError: If a file does not exist or cannot be read, or a number is not finite.
    """
    if digest_file is None:
        digest_file = digest_bytes_of
    if isinstance(source, (str, Path)):
        return _of_path(Path(source), digest_file)
    # An object and a list of the same files stay apart: they are written differently.
    parts: Any
    if isinstance(source, Mapping):
        parts = {key: _of_value(value, digest_file) for key, value in source.items()}
    elif not isinstance(source, Sequence) or isinstance(source, bytes):
        raise MediaError(
            "a source is a path, a list of paths, or a mapping of files and settings, got "
            f"{type(source).__name__}"
        )
    else:
        parts = [content_digest(item, digest_file) for item in source]
    try:
        text = canonical_json(parts)
    except TypeError as error:
        raise MediaError(f"a source holds what is neither a path nor JSON: {error}") from error
    except ValueError as error:
        # JSON has no word for NaN and infinity.
        raise MediaError(
            f"the description of a medium holds a number that is not finite: {source}; leave it out"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()


def digest_bytes_of(file: Path) -> str:
    """SHA-256 of one file's bytes, read in blocks.

    Raises:
        MediaError: If it is no regular file, or cannot be read.
    """
    if split_member(str(file)) is not None:
        return member_digest(str(file))
    regular_file(file, MediaError, "a media file")
    try:
        return sha256_of(file)
    except OSError as error:
        raise MediaError(f"{file}: cannot be read ({error.strerror}); check the path") from error


class RememberedDigests:
    """Hashes of files, remembered while a file's size and modification time stay the same.

    Args:
        folder: Where they are remembered for other processes, one small file each.

    Example:
        >>> digests = RememberedDigests(Path("tokens/digests"))  # doctest: +SKIP
        >>> content_digest("concert.mp4", digests)  # doctest: +SKIP
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, _Seen] = {}
        self._told = False  # that nothing can be remembered

    def __call__(self, file: Path) -> str:
        """SHA-256 of a file's bytes.

        Raises:
            MediaError: If it cannot be read.
        """
        # A clip in an archive is as new as the archive.
        stat = regular_file(archive_of(file), MediaError, "a media file").stat()
        path = os.path.realpath(file)
        # A path holds slashes, may be longer than a file's name may be, and need not be UTF-8.
        note = self.folder / hashlib.sha256(os.fsencode(path)).hexdigest()
        known = self._known.get(path) or _read(note)
        # Size and time, because a tool that restores a file may keep its time.
        if known is not None and known[:2] == (stat.st_size, stat.st_mtime_ns):
            self._known[path] = known
            return known[2]
        digest = digest_bytes_of(file)
        if time.time() - stat.st_mtime > SETTLED_SECONDS:
            self._known[path] = (stat.st_size, stat.st_mtime_ns, digest)
            self._remember(note, self._known[path])
        return digest

    def _remember(self, note: Path, seen: _Seen) -> None:
        """Write a hash down for other processes, where that can be done."""
        try:
            write_atomically(note, json.dumps(seen).encode())
        except OSError as error:
            # A cache that holds every token is of use on a read-only or full disk, too.
            if not self._told:
                logger.warning(
                    "%s cannot be written (%s), so every run computes the hashes of media again",
                    self.folder,
                    error.strerror,
                )
            self._told = True


_Seen = tuple[int, int, str]
"""A file's size, modification time in nanoseconds, and SHA-256."""


def canonical_json(value: object) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN.

    Example:
        >>> canonical_json({"b": 1, "a": [2.5, None]})
        '{"a":[2.5,null],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _of_path(path: Path, digest_file: DigestFile) -> str:
    """A file, or a folder with all its files."""
    # os.path.isdir says no to a name that the system cannot take; Path.is_dir would raise.
    if not os.path.isdir(path):
        return digest_file(path)
    # With "/" and in order of names: one digest of a folder on every system.
    names, loops = _below(path)
    files = [[name, digest_file(path / name)] for name in sorted(names)]
    # A folder without loops has the digest that it has always had.
    files += sorted(loops)
    return hashlib.sha256(canonical_json(files).encode()).hexdigest()


def _below(root: Path) -> tuple[list[str], list[list[str]]]:
    """All files below a folder, through links as readers go, so that a copy without links is equal.

    Returns:
        Names of the files relative to the folder; and links that lead back to a folder above them,
        each with that folder's name: what is there is counted where it lies.

    Raises:
        MediaError: If a folder cannot be listed, or links make far more of it than anybody keeps.
    """
    names: list[str] = []
    loops: list[list[str]] = []
    # Folders to list: name, and the real folders above it with their names.
    waiting: list[tuple[str, dict[str, str]]] = [("", {os.path.realpath(root): ""})]
    folders = 0
    while waiting:
        name, above = waiting.pop()
        folders += 1
        for entry in _listed(root / name):
            inner = posixpath.join(name, entry)
            place = root / inner
            if os.path.isfile(place):
                names.append(inner)
            elif os.path.isdir(place):
                real = os.path.realpath(place)
                if real in above:
                    loops.append([f"{inner}/", f"is {above[real]}/"])
                else:
                    waiting.append((inner, {**above, real: inner}))
        if len(names) + folders > MOST_FILES:
            raise MediaError(
                f"{root}: holds more than {MOST_FILES:,} files (links included); give the folder "
                "of one clip"
            )
    return names, loops


def _listed(folder: Path) -> list[str]:
    """Names in a folder.

    Raises:
        MediaError: If the system does not tell.
    """
    try:
        return os.listdir(folder)
    except OSError as error:
        raise MediaError(
            f"{folder}: cannot be listed ({error.strerror}); check its permissions"
        ) from error


def _of_value(value: Any, digest_file: DigestFile) -> Any:
    """A mapping's value: the content behind a path, anything else as it is.

    Both are marked with what they are, so that no plain text can pass for a file's hash.
    """
    if isinstance(value, (str, Path)):
        if os.path.exists(value) or split_member(str(value)) is not None:
            return ["content", _of_path(Path(value), digest_file)]
        return ["plain", str(value)]
    if isinstance(value, Mapping):
        return {key: _of_value(item, digest_file) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_of_value(item, digest_file) for item in value]
    return ["plain", value]


def _read(note: Path) -> _Seen | None:
    """A remembered hash; anything unreadable counts as none."""
    if not os.path.lexists(note):
        return None
    try:
        regular_file(note, MediaError)  # a pipe would be waited for
        size, mtime, digest = parse_json(note.read_bytes())
    except (MediaError, OSError, ValueError, TypeError):
        return None
    # Valid JSON of another shape: some other program wrote it.
    if not isinstance(size, int) or not isinstance(mtime, int):
        return None
    if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
        return None
    return size, mtime, digest
