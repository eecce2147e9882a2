"""Media of requests: where they may come from, and files for as long as a request lasts.

    data:video/mp4;base64,...                       always
    data:;name=room.npz;base64,...                  the same; the name's ending is the file's
    file:clips/a.mp4                                below the served folder, if there is one
    https://host/a.mp4                              if the server was told that it may fetch

Nothing else is opened: FFmpeg's own protocols (`concat:`, `subfile:` and the like) are no files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pave.cache import content_digest
from pave.errors import ConfigError
from pave.files import as_path, must_be_name, regular_file
from pave.serve.failures import RequestError
from pave.serve.limits import Limits

PREFIX = "pave-serve-"
_SHOWN = 40  # characters of an address in a message
_FETCH_SECONDS = 30
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,12}")


@dataclass(frozen=True)
class Source:
    """One medium of a request, as a file.

    Attributes:
        path: Where it lies.
        digest: Equal for equal content.
        label: What it is called in messages to the client, who knows no paths of this machine.
    """

    path: Path
    digest: str
    label: str


class Sources:
    """Turns addresses into files.

    Args:
        limits: How large they may be.
        folder: Files below it may be named by `file:`; none when not given.
        fetch: Whether http and https may be fetched.
    """

    def __init__(self, limits: Limits, folder: Path | None, fetch: bool) -> None:
        self._limits = limits
        self._folder = None
        if folder is not None:
            must_be_name(as_path(folder, ConfigError, "the folder of media"))
            self._folder = Path(folder).resolve()
        self._fetch = fetch

    def open(self, url: Any, label: str, place: Path) -> Source:
        """The medium at an address.

        Args:
            url: What the request says.
            label: What it is called in messages.
            place: Folder for what has to be written; the caller removes it.

        Raises:
            RequestError: If the address is of a kind that is not allowed, or leads nowhere.
        """
        if not isinstance(url, str) or not url:
            raise RequestError(f"{label}: needs an address, such as data:video/mp4;base64,...")
        scheme = url.partition(":")[0].lower()
        if scheme == "data":
            return self._data(url, label, place)
        if scheme == "file":
            return self._file(url, label)
        if scheme in ("http", "https") and self._fetch:
            return self._fetched(url, label, place)
        shown = url[:_SHOWN] + ("..." if len(url) > _SHOWN else "")
        if scheme in ("http", "https"):
            raise RequestError(
                f"{label}: this server does not fetch addresses ({shown}); send the file as "
                "data:...;base64,..., or start the server with --allow-urls"
            )
        raise RequestError(
            f"{label}: an address begins with data:, file:, http: or https:, got {shown!r}"
        )

    def _data(self, url: str, label: str, place: Path) -> Source:
        head, comma, text = url.partition(",")
        kind, *options = head[len("data:") :].split(";")
        if not comma or "base64" not in options:
            raise RequestError(f"{label}: a data address reads data:video/mp4;base64,...")
        name = next((one[5:] for one in options if one.startswith("name=")), "")
        return self.written(text, kind, label, place, unquote(name))

    def written(self, text: Any, kind: str, label: str, place: Path, name: str = "") -> Source:
        """Base64 text as a file.

        Args:
            text: The base64.
            kind: Its media type, which gives the file its ending.
            label: What it is called.
            place: Where to.
            name: What the client calls it, of which the ending counts before the type's.

        Raises:
            RequestError: If it is no base64, or too large.
        """
        try:
            # Strict: what is left out of a damaged file would be a shorter one.
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise RequestError(f"{label}: is not valid base64 ({error})") from error
        self._must_fit(len(content), label)
        ending = mimetypes.guess_extension(kind) or ""
        if _ENDING.fullmatch(Path(name).suffix):
            ending = Path(name).suffix
        return _keep(content, ending, label, place)

    def _file(self, url: str, label: str) -> Source:
        if self._folder is None:
            raise RequestError(
                f"{label}: this server does not open files of its own; send the file as "
                "data:...;base64,..., or start the server with --serve-folder"
            )
        name = unquote(url[len("file:") :].split("?")[0])
        if name.startswith("//"):  # file:///folder/a.mp4
            name = name[2:]
        # An absolute name takes the folder's place, and must lead back below it. Links count as
        # what they lead to.
        try:
            path = (self._folder / name).resolve()
            below = path.is_relative_to(self._folder)
            there = below and path.exists()
        except (OSError, ValueError):  # a NUL byte, or a name that is too long
            there = False
        if not there:
            # The same words for both, which tell nothing of what lies elsewhere.
            raise RequestError(f"{label}: the served folder holds no {name!r}", 404)
        if path.is_dir():
            return Source(path, content_digest(path), label)
        regular_file(path, RequestError, "a media file")
        state = path.stat()
        self._must_fit(state.st_size, label)
        digest = f"{path}:{state.st_size}:{state.st_mtime_ns}:{state.st_ino}"
        return Source(path, hashlib.sha256(digest.encode()).hexdigest(), label)

    def _fetched(self, url: str, label: str, place: Path) -> Source:
        # Without ftp: and file:, which urllib opens as well: the scheme was checked above.
        opener = urllib.request.build_opener(_Straight)
        try:
            with opener.open(url, timeout=_FETCH_SECONDS) as answer:
                content = answer.read(self._limits.upload_bytes + 1)
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise RequestError(f"{label}: cannot be fetched ({error})") from error
        self._must_fit(len(content), label)
        return _keep(content, Path(urlsplit(url).path).suffix[:8], label, place)

    def _must_fit(self, size: int, label: str) -> None:
        if size > self._limits.upload_bytes:
            raise RequestError(
                f"{label}: is larger than the limit of {self._limits.max_upload_mb} MB "
                "(max_upload_mb)",
                413,
            )


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirects: a harmless address could lead to one inside the network."""

    def redirect_request(self, *words: Any) -> None:
        """None refuses it."""


def _keep(content: bytes, ending: str, label: str, place: Path) -> Source:
    digest = hashlib.sha256(content).hexdigest()
    # No name of the client's choice.
    path = place / f"{len(list(place.iterdir()))}{ending}"
    path.write_bytes(content)
    return Source(path, digest, label)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the files of a server's requests, which only its user can read.

    What servers left behind that were killed is removed first.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        with suppress(OSError):
            if left.stat().st_uid == os.getuid() and not _runs(owner):
                shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-")


def _runs(owner: str) -> bool:
    """Whether there is a process of this number."""
    if not owner.isdecimal():
        return True  # not one of ours
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
