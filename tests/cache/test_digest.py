"""The digest of a source covers whatever readers follow, and needs no cache that can be written."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pave import files
from pave.cache import TokenCache, content_digest, digest, gc
from pave.errors import MediaError
from pave.files import UNFINISHED


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def by_hand(folder: Path) -> str:
    """The digest of a folder without links, as it has always been: names and hashes in order."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    files = [folder / name for name in names if (folder / name).is_file()]
    found = [[file.relative_to(folder).as_posix(), sha(file.read_bytes())] for file in files]
    return sha(json.dumps(found, separators=(",", ":")).encode())


NAMES = st.lists(st.sampled_from(["a", "b", "b.x", ".h", "z0"]), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAMES.map("/".join), st.binary(max_size=4), max_size=6))
def test_folders_without_links_keep_their_digest(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("f")
    for name, data in content.items():
        file = folder / name
        if any(part.is_file() for part in file.parents) or file.is_dir():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    assert content_digest(folder) == by_hand(folder)


def scan(root: Path, name: str, data: bytes) -> Path:
    """A scan whose pictures lie elsewhere, as copies of ScanNet mostly are."""
    (root / "disk" / name / "inner").mkdir(parents=True)
    (root / "disk" / name / "0.jpg").write_bytes(data)
    (root / "disk" / name / "inner" / "1.jpg").write_bytes(data + b"1")
    (root / name).mkdir()
    (root / name / "color").symlink_to(root / "disk" / name)
    (root / name / "pose.txt").symlink_to(root / "disk" / name / "0.jpg")
    return root / name


def test_what_links_lead_to_counts_as_if_it_lay_there(tmp_path: Path) -> None:
    one, two, same = (scan(tmp_path / n, n, d) for n, d in (("A", b"a"), ("B", b"b"), ("C", b"a")))
    assert content_digest(one) != content_digest(two)
    assert content_digest(one) == content_digest(same), "where the data lies does not count"
    shutil.copytree(one, tmp_path / "copy", symlinks=False)
    assert content_digest(one) == content_digest(tmp_path / "copy") == by_hand(tmp_path / "copy")
    before = content_digest(one)
    (tmp_path / "A" / "disk" / "A" / "inner" / "1.jpg").write_bytes(b"other")
    assert content_digest(one) != before
    through = tmp_path / "link"
    through.symlink_to(one)
    assert content_digest(through) == content_digest(one)
    assert content_digest({"folder": str(one)}) != content_digest({"folder": str(two)})


def test_a_chain_of_links_and_two_names_of_one_folder(tmp_path: Path) -> None:
    scene = scan(tmp_path, "A", b"a")
    (tmp_path / "hop").symlink_to(scene / "color")
    (scene / "again").symlink_to(tmp_path / "hop")
    shutil.copytree(scene, tmp_path / "copy", symlinks=False)
    assert content_digest(scene) == by_hand(tmp_path / "copy")


def test_loops_end_and_are_told_apart(tmp_path: Path) -> None:
    found = set()
    for name, link, target in (
        ("a", "x", "."),
        ("b", "y", "."),
        ("c", "in/x", ".."),
        ("d", "", ""),
    ):
        folder = tmp_path / name
        (folder / "in").mkdir(parents=True)
        (folder / "file").write_bytes(b"data")
        if link:
            (folder / link).symlink_to(target)
        found.add(content_digest(folder))
        shutil.move(folder, tmp_path / f"{name}-moved")
        assert content_digest(tmp_path / f"{name}-moved") in found, "wherever the folder lies"
    assert len(found) == 4
    one, two = tmp_path / "one", tmp_path / "two"
    for here, there in ((one, two), (two, one)):
        here.mkdir()
        (here / "file").write_bytes(b"data")
        (here / "other").symlink_to(there)
    assert content_digest(one) == content_digest(two)
    (one / "self").symlink_to("self")
    (one / "gone").symlink_to("nowhere")
    assert len(content_digest(one)) == 64


def test_links_that_make_a_disk_of_a_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "MOST_FILES", 100)
    for number in range(7):  # each leads to all others: 7! ways
        (tmp_path / str(number)).mkdir()
        for other in range(7):
            (tmp_path / str(number) / f"to{other}").symlink_to(tmp_path / str(other))
            (tmp_path / str(number) / f"file{other}").write_bytes(b"")
    with pytest.raises(MediaError, match="more than 100 files \\(links included"):
        content_digest(tmp_path)


def test_what_is_no_file_has_no_digest(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "cache")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (
        "/dev/zero",
        tmp_path / "pipe",
        tmp_path / "loop",
        f"{tmp_path}/a\0b",
        "/proc/stat",
    ):
        for source in (path, [path], str(path)):
            for take in (content_digest, cache.content):
                with pytest.raises(MediaError):
                    take(source)  # type: ignore[arg-type]


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    try:
        Path(os.fsdecode(file)).write_bytes(b"data")
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    os.utime(file, (1e9, 1e9))
    assert TokenCache(tmp_path / "cache").content(os.fsdecode(file)) == sha(b"data")


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    """One line says that hashes are not remembered, however many media there are."""
    films = [tmp_path / f"{name}.mp4" for name in "ab"]
    for film in films:
        film.write_bytes(film.name.encode())
        os.utime(film, (1e9, 1e9))
    cache = TokenCache(tmp_path / "cache")
    key = cache.key(films[0], {})
    cache.put(key, {"values": torch.ones(1)})
    shutil.rmtree(tmp_path / "cache" / "digests")

    def refuse(*args: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    again = TokenCache(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        for film in films:
            assert again.content(film) == sha(film.read_bytes())
            assert again.content(film) == sha(film.read_bytes())
        assert again.get(again.key(films[0], {})) is not None
    assert len(caplog.messages) == 1 and os.strerror(number) in caplog.messages[0]


def test_gc_removes_folders_of_killed_writers(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "cache")
    cache.put("a" * 64, {"values": torch.ones(1)})
    left = tmp_path / "cache" / f"{UNFINISHED}shard"
    (left / "inner").mkdir(parents=True)
    (left / "inner" / "file").write_bytes(b"x")
    for path in (left / "inner" / "file", left / "inner", left):
        os.utime(path, (1e9, 1e9))
    assert gc(cache).left_over == 1 and not left.exists()
    assert cache.get("a" * 64) is not None
