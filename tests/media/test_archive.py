"""Clips in archives read as clips in folders; nothing is left behind, nothing leads out."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch

from pave.cache import TokenCache
from pave.errors import MediaError
from pave.files import PlaceError
from pave.media import Uniform, probe, read_frames, read_sound, write_video
from pave.media import archive as module
from pave.media.archive import Archive, is_there, member_path, split_member, with_archive


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = torch.randint(0, 255, (6, 3, 32, 32), dtype=torch.uint8)
    file = tmp_path / "a.mp4"
    write_video(file, frames.permute(0, 2, 3, 1).numpy(), fps=6)
    return file


def packed(kind: str, clip: Path) -> str:
    archive = clip.with_name(f"clips.{kind}")
    if kind == "tar":
        with tarfile.open(archive, "w") as opened:
            opened.add(clip, "./x/a.mp4")
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.write(clip, "x/a.mp4")
    return member_path(archive, "x/a.mp4")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_reads_as_its_file(tmp_path, clip, kind, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    name = packed(kind, clip)
    assert is_there(name) and not is_there(name.replace("a.mp4", "b.mp4"))
    one, other = read_frames(name, Uniform(3)), read_frames(clip, Uniform(3))
    assert torch.equal(one.pixels, other.pixels) and torch.equal(one.times, other.times)
    assert probe(name).duration == probe(clip).duration
    assert read_sound(name) is None
    cache = TokenCache(tmp_path / "tokens")
    assert cache.content(name) == cache.content(clip)  # so tokens are shared, too
    assert cache.content({"video": Path(name)}) == cache.content({"video": clip})
    assert os.listdir(tmp_path / "tmp") == []


def test_what_is_wrong_is_named_as_the_user_knows_it(tmp_path, clip):
    name = packed("tar", clip)
    with pytest.raises(MediaError, match=r"clips\.tar: holds no file 'nowhere\.mp4'"):
        read_frames(name.replace("x/a.mp4", "nowhere.mp4"), Uniform(1))
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("cut.mp4", clip.read_bytes()[:-40])
        opened.writestr("text.mp4", b"no film at all")
    for member in ("cut.mp4", "text.mp4"):
        with pytest.raises(MediaError, match=rf"zip://{member}::.*bad\.zip: ") as caught:
            read_frames(member_path(archive, member), Uniform(1))
        assert "pave-clip" not in str(caught.value)
    broken = bytearray(archive.read_bytes())
    broken[60] ^= 0xFF
    archive.write_bytes(broken)
    with pytest.raises(MediaError, match=r"cut\.mp4 cannot be read"):
        read_frames(member_path(archive, "cut.mp4"), Uniform(1))
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as opened_tar:
        opened_tar.add(clip, "a.mp4")
    with pytest.raises(MediaError, match="compressed as a whole"):
        read_frames(member_path(tmp_path / "packed.tar.gz", "a.mp4"), Uniform(1))


def test_links_and_devices_are_no_members(tmp_path):
    file = tmp_path / "hostile.tar"
    with tarfile.open(file, "w") as opened:
        for name, kind in (
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("zero", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            opened.addfile(info)
        outside = tarfile.TarInfo("../../escaped")
        outside.size = 1
        opened.addfile(outside, io.BytesIO(b"x"))
    with Archive(file) as found:
        assert found.names() == ["../../escaped"]  # a name, and never a path
        assert found.read("../../escaped", 1) == b"x"
        with pytest.raises(MediaError, match="holds no file 'link'"):
            found.read("link", 1)
    assert not (tmp_path.parent.parent / "escaped").exists()


def test_a_member_is_bounded(tmp_path, clip, monkeypatch):
    name = packed("zip", clip)
    monkeypatch.setattr(module, "MEMBER_BYTES", 10)
    with pytest.raises(MediaError, match="more than the limit of 10"):
        read_frames(name, Uniform(1))
    monkeypatch.undo()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("U", (), {"free": 1}))
    with pytest.raises(PlaceError, match="no room for"):
        read_frames(name, Uniform(1))


def test_names_are_taken_apart_and_put_together():
    name = "tar://x/a.mp4::shards/0.tar"
    assert split_member(name) == ("shards/0.tar", "x/a.mp4")
    assert split_member(str(Path(name))) == ("shards/0.tar", "x/a.mp4")
    assert split_member("clips/a.mp4") is None
    assert with_archive(name, lambda path: f"/d/{path}") == "tar://x/a.mp4::/d/shards/0.tar"
    assert with_archive("a.mp4", str.upper) == "A.MP4"
