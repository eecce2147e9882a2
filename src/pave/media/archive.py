"""Clips inside tar and zip files, named as fsspec and `datasets` name them.

    tar://clips/a.mp4::shards/0000.tar        zip://a.mp4::clips.zip

Before the `::` stands the member, behind it the archive. FFmpeg needs a file of its own, so a
member is written into a temporary file while it is read, and nothing stays behind: the disk holds
the clips that are open, however large the archives are. Nothing is ever unpacked under a name from
the archive, and links, devices and encrypted members are none of its clips.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pave.errors import MediaError
from pave.files import PlaceError, regular_file, writing

MEMBER_BYTES = 64 << 30
"""The most that a member may unpack to: 64 GiB, some hours of video."""
MEMBER = "::"
"""What parts a member from its archive; paths without it are plain."""
# One slash, too: `pathlib` makes one of two.
_PATH = re.compile(rf"(tar|zip):/{{1,2}}(.+?){MEMBER}(.+)", re.DOTALL)
_BLOCK = 1 << 20
# What a damaged archive makes the two libraries raise.
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError)
# gzip, bzip2, xz and zstd.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_PACKED = "is compressed as a whole, so no single member can be read; repack it as a plain tar"


def member_path(archive: str | Path, name: str) -> str:
    """How a member of an archive is named where a path is wanted.

    Example:
        >>> member_path("a.zip", "x.mp4")
        'zip://x.mp4::a.zip'
    """
    kind = "tar"
    # Only a word for people: what an archive is, its first bytes tell.
    if str(archive).lower().endswith(".zip"):
        kind = "zip"
    return f"{kind}://{name}::{archive}"


def split_member(path: str) -> tuple[str, str] | None:
    """(archive, member) of such a name; None for any other path.

    Example:
        >>> split_member("tar://a/b.mp4::shards/0.tar")
        ('shards/0.tar', 'a/b.mp4')
    """
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    return found[3], found[2]


def with_archive(path: str, change: Callable[[str], str]) -> str:
    """A path with `change` applied to what lies on the disk: the archive, or the path itself."""
    found = _PATH.fullmatch(path)
    if found is None:
        return change(path)
    return f"{found[1]}://{found[2]}::{change(found[3])}"


def is_there(path: str) -> bool:
    """Whether a file, a folder or a member exists."""
    found = split_member(path)
    if found is None:
        return os.path.exists(path)
    try:
        return found[1] in _members(*_seen(found[0]))
    except MediaError:
        return False


@contextmanager
def as_file(path: str | Path) -> Iterator[Path]:
    """A path to read from: the path itself, or a temporary file that holds the member.

    Raises:
        MediaError: If there is no such member, or it cannot be read.
        PlaceError: If the disk has no room for it.
    """
    found = split_member(str(path))
    if found is None:
        yield Path(path)
        return
    archive, name = found
    # The ending stays, since FFmpeg takes it as a hint.
    handle, temporary = tempfile.mkstemp(prefix="pave-clip-", suffix=Path(name).suffix[:16])
    try:
        with os.fdopen(handle, "wb") as file, Archive(archive) as opened:
            opened.copy(name, file)
        yield Path(temporary)
    except MediaError as error:  # the user knows the member, not the file
        raise MediaError(str(error).replace(temporary, str(path))) from error
    finally:
        os.unlink(temporary)


def archive_of(path: str | Path) -> Path:
    """The file on the disk that a path is read from: its archive, or itself."""
    found = split_member(str(path))
    if found is None:
        return Path(path)
    return Path(found[0])


def member_digest(path: str) -> str:
    """SHA-256 of a member's bytes: that of the same clip in a folder.

    Raises:
        MediaError: If it cannot be read.
    """
    found = split_member(path)
    assert found is not None
    digest = hashlib.sha256()
    with Archive(found[0]) as opened:
        for block in opened.blocks(found[1]):
            digest.update(block)
    return digest.hexdigest()


class Archive:
    """A tar or zip file whose members are read one by one.

    Args:
        path: The file.

    Raises:
        MediaError: Whatever is wrong with it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = regular_file(path, MediaError, "a tar or zip file")
        self._file: IO[bytes] = self.path.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def names(self) -> list[str]:
        """Its members that are files, in their order."""
        return list(_members(*_seen(self.path)))

    def read(self, name: str, most: int) -> bytes:
        """The whole of a member, if it has no more than so many bytes."""
        data = b""
        for block in self.blocks(name):
            data += block
            if len(data) > most:
                raise MediaError(f"{self.path}: {name} has more than {most:,} bytes")
        return data

    def copy(self, name: str, file: IO[bytes]) -> None:
        """Write a member into a file, if the disk has room for it.

        Raises:
            PlaceError: If it has not.
        """
        folder = tempfile.gettempdir()
        size = self._member(name)[1]
        # Before gigabytes are written in vain.
        free = shutil.disk_usage(folder).free
        if size > free:
            raise PlaceError(errno.ENOSPC, f"there is no room for {size:,} bytes of {name}", folder)
        for block in self.blocks(name):
            with writing(Path(folder)):
                file.write(block)

    def blocks(self, name: str) -> Iterator[bytes]:
        """The bytes of a member, some at a time; never more than the archive says it has."""
        start, size = self._member(name)
        if size > MEMBER_BYTES:
            raise MediaError(
                f"{self.path}: {name} has {size:,} bytes, more than the limit of {MEMBER_BYTES:,}"
            )
        try:
            with self._opened(name, start) as file:
                left = size
                while left > 0:
                    block = file.read(min(_BLOCK, left))
                    if not block:
                        raise EOFError("the archive ends inside it")
                    left -= len(block)
                    yield block
        except (*_BROKEN, RuntimeError, NotImplementedError) as why:
            # RuntimeError: it is encrypted. NotImplementedError: its compression is unknown here.
            raise MediaError(f"{self.path}: {name} cannot be read ({why}); pack it again") from why

    def _member(self, name: str) -> tuple[int, int]:
        """Where a member begins, and its bytes."""
        members = _members(*_seen(self.path))
        if name not in members:
            raise MediaError(
                f"{self.path}: holds no file {name!r}; list the archive to see its names"
            )
        return members[name]

    @contextmanager
    def _opened(self, name: str, start: int) -> Iterator[IO[bytes]]:
        """A member as a file; of a tar, the archive itself at the place where it begins."""
        if start >= 0:  # its bytes lie as they are
            self._file.seek(start)
            yield self._file
            return
        with zipfile.ZipFile(self._file) as opened, opened.open(name) as file:
            yield file


def _seen(path: str | Path) -> tuple[str, int, int]:
    """What the list of an archive's members is remembered by: a changed file is another one."""
    stat = regular_file(path, MediaError, "a tar or zip file").stat()
    return os.path.abspath(path), stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=16)
def _members(path: str, size: int, changed: int) -> dict[str, tuple[int, int]]:
    """Name -> (where it begins, bytes) of the plain files in an archive; -1 in a zip."""
    try:
        # Asked in this order: a tar may end with a zip file, which looks like one.
        if not tarfile.is_tarfile(path) and zipfile.is_zipfile(path):
            return _of_zip(path)
        with tarfile.open(path, "r:") as opened:  # plain: the others cannot be sought in
            # A later member of a name is the one that counts, as tar itself has it.
            found = {}
            for item in opened:
                if item.isreg() and not item.issparse():  # links and devices are no clips
                    found[item.name.removeprefix("./")] = (item.offset_data, item.size)
        _must_end(path)
        return found
    except _BROKEN as why:
        words = f"cannot be read as tar or zip ({why}); pack it again"
        with open(path, "rb") as file:
            if file.read(6).startswith(_COMPRESSED):
                words = _PACKED
        raise MediaError(f"{path}: {words}") from why


def _must_end(path: str) -> None:
    """Refuse a tar that was cut off between two members, which reads as a shorter one."""
    with open(path, "rb") as file:
        file.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
        if any(file.read()):
            raise tarfile.ReadError("it is cut off: its end is missing")


def _of_zip(path: str) -> dict[str, tuple[int, int]]:
    """The files of a zip archive."""
    with zipfile.ZipFile(path) as opened:
        return {
            item.filename: (-1, item.file_size) for item in opened.infolist() if not item.is_dir()
        }
