"""What a media source *is*: a hash of its bytes.

A clip stays the same clip under any name and on any machine, and a changed file is another clip.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.errors import MediaError
from pave.files import write_atomically

# A file changed this recently may change again within its timestamp's grain: its hash is not
# remembered yet.
SETTLED_SECONDS = 2.0
_SHA256 = re.compile(r"[0-9a-f]{64}")

Source = str | Path | Sequence[str | Path] | Mapping[str, Any]
"""Where a channel's raw media is.

A file, a folder, several files (views), or a mapping of files and settings (a 3D scene).
"""

DigestFile = Callable[[Path], str]


def content_digest(source: Source, digest_file: DigestFile | None = None) -> str:
    """SHA-256 of what a source contains.

    A file counts by its bytes, a folder by the names and bytes of its files, a list by its items in
    order, a mapping by its keys and values; a mapping's value that is no existing path counts as it
    is written.

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
    else:
        parts = [content_digest(item, digest_file) for item in source]
    try:
        text = canonical_json(parts)
    except ValueError as error:
        # JSON has no word for NaN and infinity.
        raise MediaError(
            f"a source holds a number that is not finite: {source}; leave it out"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()


def digest_bytes_of(file: Path) -> str:
    """SHA-256 of one file's bytes, read in blocks."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
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

    def __call__(self, file: Path) -> str:
        """SHA-256 of a file's bytes.

        Raises:
            MediaError: If it cannot be read.
        """
        try:
            stat = file.stat()
        except OSError:
            return digest_bytes_of(file)  # says what is wrong
        path = str(file.resolve())
        # A path holds slashes, and may be longer than a file's name may be.
        note = self.folder / hashlib.sha256(path.encode()).hexdigest()
        known = self._known.get(path) or _read(note)
        # Size and time, because a tool that restores a file may keep its time.
        if known is not None and known[:2] == (stat.st_size, stat.st_mtime_ns):
            self._known[path] = known
            return known[2]
        digest = digest_bytes_of(file)
        if time.time() - stat.st_mtime > SETTLED_SECONDS:
            self._known[path] = (stat.st_size, stat.st_mtime_ns, digest)
            write_atomically(note, json.dumps(self._known[path]).encode())
        return digest


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
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    files = [[name, digest_file(path / name)] for name in names]
    return hashlib.sha256(canonical_json(files).encode()).hexdigest()


def _of_value(value: Any, digest_file: DigestFile) -> Any:
    """A mapping's value: the content behind a path, anything else as it is.

    Both are marked with what they are, so that no plain text can pass for a file's hash.
    """
    if isinstance(value, (str, Path)):
        if os.path.exists(value):
            return ["content", _of_path(Path(value), digest_file)]
        return ["plain", str(value)]
    if isinstance(value, Mapping):
        return {key: _of_value(item, digest_file) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_of_value(item, digest_file) for item in value]
    return ["plain", value]


def _read(note: Path) -> _Seen | None:
    """A remembered hash; anything unreadable counts as none."""
    try:
        size, mtime, digest = json.loads(note.read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    # Valid JSON of another shape: some other program wrote it.
    if not isinstance(size, int) or not isinstance(mtime, int):
        return None
    if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
        return None
    return size, mtime, digest
