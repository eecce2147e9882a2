"""What a media source *is*: a hash of its bytes, so that a clip stays the same clip under any name and on any machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.errors import MediaError

Source = str | Path | Sequence[str | Path] | Mapping[str, Any]
"""Where a channel's raw media is: a file, a folder, several files (views), or a mapping of files and settings (a 3D scene)."""


def content_digest(source: Source, digest_file: Callable[[Path], str] | None = None) -> str:
    """SHA-256 of what a source contains.

    A file counts by its bytes, a folder by the names and bytes of its files, a list by its items in
    order, a mapping by its keys and values; a mapping's value that is no existing path counts as it
    is written.

    Args:
        source: The source.
        digest_file: How to hash one file, if not by reading it (the store remembers hashes of
            unchanged files).

    Returns:
        64 hexadecimal digits.

    Raises:
        MediaError: If a file does not exist or cannot be read, or a number is not finite.
    """
    digest_file = digest_file or digest_bytes_of
    if isinstance(source, (str, Path)):
        return _of_path(Path(source), digest_file)
    if isinstance(source, Mapping):
        parts: Any = {key: _of_value(value, digest_file) for key, value in source.items()}
    else:
        parts = [content_digest(item, digest_file) for item in source]
    try:
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
    except ValueError as error:
        raise MediaError(
            f"a source holds a number that is not finite: {source}; leave it out"
        ) from error


def digest_bytes_of(file: Path) -> str:
    """SHA-256 of one file's bytes, read in blocks."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(f"{file}: cannot be read ({error.strerror}); check the path") from error


def canonical_json(value: object) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _of_path(path: Path, digest_file: Callable[[Path], str]) -> str:
    """A file, or a folder with all its files."""
    if not os.path.isdir(path):
        return digest_file(path)
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return hashlib.sha256(
        canonical_json([[name, digest_file(path / name)] for name in names]).encode()
    ).hexdigest()


def _of_value(value: Any, digest_file: Callable[[Path], str]) -> Any:
    """A mapping's value: the content behind a path, anything else as it is."""
    if isinstance(value, (str, Path)):
        return (
            ["content", _of_path(Path(value), digest_file)]
            if os.path.exists(value)
            else ["plain", str(value)]
        )
    if isinstance(value, Mapping):
        return {key: _of_value(item, digest_file) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_of_value(item, digest_file) for item in value]
    return ["plain", value]
