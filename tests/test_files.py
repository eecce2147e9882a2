"""Writing files: whole or not at all, and a refusal names the path that the user gave."""

from __future__ import annotations

import errno
import os
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from pave.errors import ConfigError, RecordError
from pave.files import (
    PlaceError,
    clear_left_overs,
    entries_of,
    held_alone,
    make_folder,
    regular_file,
    remove_unless_new,
    replace_atomically,
    write_text_atomically,
    writing,
    written_lines,
)
from pave.media import write_video

FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


def refused(file: Path) -> PlaceError:
    with pytest.raises(PlaceError) as caught:
        write_text_atomically(file, "text")
    assert str(file) in str(caught.value) and ".writing-" not in str(caught.value)
    return caught.value


def test_a_folder_in_the_way_is_named_by_the_users_path(tmp_path: Path):
    (tmp_path / "rows.jsonl").mkdir()
    assert refused(tmp_path / "rows.jsonl").errno == errno.EISDIR
    (tmp_path / "file").write_text("")
    error = refused(tmp_path / "file" / "rows.jsonl")
    assert error.errno in (errno.EEXIST, errno.ENOTDIR) and str(error.strerror).endswith(
        f": {tmp_path / 'file'}"
    )
    assert refused(tmp_path / ("x" * 300)).errno == errno.ENAMETOOLONG
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "rows.jsonl"], (
        "nothing is left over"
    )


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs a place where nothing can be made"
)
def test_a_place_where_nothing_can_be_made():
    refused(Path("/proc/nowhere/rows.jsonl"))
    with pytest.raises(PlaceError, match="/proc/nowhere/at/all"):
        make_folder(Path("/proc/nowhere/at/all"))


@pytest.mark.parametrize(
    "said", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError(FULL)]
)
def test_a_full_disk_is_one_error_whoever_meets_it(tmp_path: Path, said: Exception):
    def write(temporary: Path) -> None:
        raise said

    with pytest.raises(PlaceError, match="No space left on device") as caught:
        replace_atomically(tmp_path / "rows.jsonl", write)
    assert (caught.value.errno, caught.value.filename) == (
        errno.ENOSPC,
        str(tmp_path / "rows.jsonl"),
    )
    assert not list(tmp_path.iterdir())
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (PlaceError, str(caught.value)), (
        "it comes whole out of another process"
    )


def test_the_innermost_name_stays_and_other_errors_are_left_alone(tmp_path: Path):
    with pytest.raises(PlaceError, match="inner"), writing(Path("outer")), writing(Path("inner")):
        raise OSError(errno.EROFS, "Read-only file system", "hidden")
    for other in (SafetensorError("header too small"), OSError("no number"), KeyError("bug")):
        with pytest.raises(type(other)) as caught, writing(tmp_path):
            raise other
        assert caught.value is other


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text_atomically(tmp_path / "pipe", "text")
        assert os.read(reader, 10) == b"text" and (tmp_path / "pipe").is_fifo()
    finally:
        os.close(reader)


def no_file(path: str | Path) -> str:
    with pytest.raises(RecordError) as caught:
        regular_file(path, RecordError, "a records file")
    spelt = str(path).replace("\0", "\\u0000")  # as every message does
    assert str(caught.value).startswith(f"{spelt}: ")
    return str(caught.value)


def test_only_regular_files_are_read(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert regular_file(tmp_path / name, RecordError) == tmp_path / name
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    for name in ("pipe", "to-pipe"):
        assert "is a pipe, a records file is needed here" in no_file(tmp_path / name)
    assert "is a folder" in no_file(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert "is a link to itself" in no_file(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("gone", "nowhere", "x" * 300, "file/x"):
        assert "no such file" in no_file(tmp_path / name)


def test_sockets_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket may have some hundred characters
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("here")
        assert "is a socket" in no_file("here")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_names_that_the_system_does_not_take_are_no_files(name: str):
    assert "no such file" in no_file(name)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_devices_and_answers_of_the_kernel_are_no_files(tmp_path: Path):
    for name in ("/dev/zero", "/dev/null"):
        assert "is a device" in no_file(name)
    (tmp_path / "link").symlink_to("/proc/self/status")
    for path in ("/proc/kmsg", "/proc/self/mem", "/proc/self/../version", tmp_path / "link"):
        assert "is generated by the kernel" in no_file(path)
    # A file that is open already is a file by any name.
    (tmp_path / "open").write_text("")
    with (tmp_path / "open").open() as stream:
        regular_file(f"/proc/self/fd/{stream.fileno()}", RecordError)


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022, 0o002])
def test_rights_are_what_the_umask_leaves(tmp_path: Path, mask: int):
    """As `open` makes a file, which is POSIX: 0666 without the mask's bits."""
    before = os.umask(mask)
    try:
        write_text_atomically(tmp_path / "new", "text")
        write_text_atomically(tmp_path / "new", "text again")
        write_video(tmp_path / "film.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2, 2)
    finally:
        os.umask(before)
    for name in ("new", "film.mp4"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "new"]


def test_left_overs_go_when_nothing_in_them_has_changed_lately(tmp_path: Path):
    def old(path: Path) -> Path:
        os.utime(path, (1e9, 1e9), follow_symlinks=False)
        return path

    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("x")
    for name in ("dead", "alive"):
        (tmp_path / f".writing-{name}" / "inner").mkdir(parents=True)
        old(tmp_path / f".writing-{name}" / "inner")
    (tmp_path / ".writing-alive" / "inner" / "file").write_text("being written")
    (tmp_path / ".writing-dead" / "link").symlink_to(precious)
    (tmp_path / ".writing-link").symlink_to(precious)
    (tmp_path / ".writing-file").write_text("half")
    for path in (tmp_path / ".writing-dead" / "link", *tmp_path.glob(".writing-*")):
        old(path)
    assert clear_left_overs(tmp_path.glob(".writing-*")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-alive", "precious"]
    assert (precious / "data").read_text() == "x", "no link was followed"


def test_what_desktops_leave_is_no_entry(tmp_path: Path):
    for name in ("b.jpg", "a.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"):
        (tmp_path / name).write_text("")
    assert [path.name for path in entries_of(tmp_path)] == ["a.jpg", "b.jpg"]
    assert [path.name for path in entries_of(tmp_path, "b*")] == ["b.jpg"]


@pytest.mark.parametrize("rest", [b"", b"{", b'{"id": "b", "ar'])
def test_a_line_that_was_cut_short_is_taken_off(tmp_path: Path, rest: bytes):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"id": "a"}\n' + rest)
    lines = written_lines(file, b'{"id": ', ConfigError, "no row", mend=False)
    assert list(lines) == [(1, b'{"id": "a"}\n')] and file.read_bytes().endswith(rest)
    assert len(list(written_lines(file, b'{"id": ', ConfigError, "no row"))) == 1
    assert file.read_bytes() == b'{"id": "a"}\n'


@pytest.mark.parametrize("content", [b"my notes", b'{"id": "a"}\n[1, 2]', b"\0\0\0\x18ftypmp42"])
def test_somebodys_own_file_stays_as_it_is(tmp_path: Path, content: bytes):
    """A file without an end of line, given by mistake as the one to write answers into."""
    file = tmp_path / "mine"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine:\d: no row"):
        list(written_lines(file, b'{"id": ', ConfigError, "no row"))
    assert file.read_bytes() == content


@pytest.mark.parametrize("target", ["", "/dev/zero", "/proc/kmsg"])
def test_no_pipe_lies_where_a_file_of_ours_goes(tmp_path: Path, target: str):
    """To write to it would be to wait for a reader that never comes."""
    place = tmp_path / "settings.yaml"
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    with held_alone(tmp_path, RecordError, "wait"):
        pass
    if target:
        place.symlink_to(target)
    else:
        os.mkfifo(place)
    said = r"settings.yaml: .*; remove it"
    with pytest.raises(RecordError, match=said), held_alone(tmp_path, RecordError, "wait"):
        pass


@pytest.mark.parametrize(
    "part", ["items", "margins", "checkpoints", "checkpoints/checkpoint-2", "patch/lora", "best"]
)
@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_no_pipe_lies_in_the_folders_of_a_run(tmp_path: Path, part: str, target: str):
    (tmp_path / part).mkdir(parents=True)
    place = tmp_path / part / "base.jsonl"
    os.mkfifo(place) if target == "pipe" else place.symlink_to(target)
    with (
        pytest.raises(ConfigError, match=r"base\.jsonl: is a (pipe|device).*remove it"),
        held_alone(tmp_path, ConfigError, "wait"),
    ):
        pass
    place.unlink()
    (tmp_path / "cache").mkdir()  # which looks after itself
    os.mkfifo(tmp_path / "cache" / "pipe")
    with held_alone(tmp_path, ConfigError, "wait"):
        pass


def test_a_killed_writers_files_go_with_the_next_run(tmp_path: Path):
    folders = [tmp_path, tmp_path / "items", tmp_path / "checkpoints" / "checkpoint-2"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name, age in ((".writing-old", 1e9), (".writing-new", None), ("rows.jsonl", 1e9)):
            (folder / name).write_text("half")
            if age is not None:
                os.utime(folder / name, (age, age))
    with held_alone(tmp_path, ConfigError, "wait"):
        for folder in folders:
            left = {path.name for path in folder.iterdir() if path.is_file()}
            assert left - {".lock"} == {".writing-new", "rows.jsonl"}


def test_a_writer_that_slept_writes_again(tmp_path: Path):
    """Whoever sweeps up has taken what it was writing for a left-over."""
    calls = []

    def write(temporary: Path) -> None:
        calls.append(temporary)
        temporary.write_text("text")
        if len(calls) == 1:
            os.utime(temporary, (1e9, 1e9))
            assert clear_left_overs(tmp_path.glob(".writing-*")) == 1

    replace_atomically(tmp_path / "rows", write)
    assert (tmp_path / "rows").read_text() == "text" and len(calls) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_what_is_new_is_not_removed(tmp_path: Path):
    file = tmp_path / "entry"
    file.write_text("damaged")
    seen = os.stat(file)
    write_text_atomically(file, "good")
    assert not remove_unless_new(file, seen) and file.read_text() == "good"
    assert remove_unless_new(file, os.stat(file)) and not file.exists()
    assert remove_unless_new(file, seen), "somebody else was first"
    assert list(tmp_path.iterdir()) == []
