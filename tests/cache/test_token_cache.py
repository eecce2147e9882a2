"""`TokenCache`: what goes in comes out; nothing half-written, damaged or stale ever does."""

from __future__ import annotations

import logging
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pave import files
from pave.cache import TokenCache, content_digest, digest, is_cache
from pave.errors import ConfigError, MediaError

KEY = "ab" * 32
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool]


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(DTYPES)),
        max_size=4,
    )
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[list[int], torch.dtype]]
) -> None:
    """Any names, shapes (also empty) and types come back bit for bit."""
    kept = TokenCache(tmp_path_factory.mktemp("s"))
    tensors = {name: (torch.randn(shape) * 9).to(dtype) for name, (shape, dtype) in shapes.items()}
    assert not kept.contains(KEY) and kept.get(KEY) is None
    kept.put(KEY, tensors)
    got = kept.get(KEY)
    assert kept.contains(KEY) and got is not None and got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert got[name].dtype == tensor.dtype and torch.equal(got[name], tensor)


def test_views_and_gradients(tmp_path: Path) -> None:
    """Slices of one storage, transposes and tensors with a graph are kept by value."""
    kept, base = TokenCache(tmp_path), torch.arange(12.0).view(3, 4)
    kept.put(
        KEY, {"a": base[1:], "b": base[:2], "c": base.T, "d": torch.ones(2, requires_grad=True) * 2}
    )
    got = kept.get(KEY)
    assert (
        got is not None
        and torch.equal(got["c"], base.T)
        and torch.equal(got["d"], torch.full((2,), 2.0))
    )
    assert (tmp_path / KEY[:2] / f"{KEY}.safetensors").is_file()


def test_narrow_cache(tmp_path: Path) -> None:
    """bf16 for values; times (float64) and whole numbers as they are."""
    kept = TokenCache(tmp_path, torch.bfloat16)
    kept.put(
        KEY,
        {
            "values": torch.randn(3, 1, 4),
            "times": torch.rand(3, dtype=torch.float64),
            "grid": torch.tensor([3, 1]),
        },
    )
    got = kept.get(KEY)
    assert got is not None
    assert [got[n].dtype for n in ("values", "times", "grid")] == [
        torch.bfloat16,
        torch.float64,
        torch.int64,
    ]
    with pytest.raises(ConfigError, match="floating"):
        TokenCache(tmp_path, torch.int8)


@pytest.mark.parametrize("damage", ["cut", "empty", "rubbish"])
def test_damaged_files_count_as_missing(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning, and the next put mends it."""
    kept = TokenCache(tmp_path)
    kept.put(KEY, {"values": torch.randn(50)})
    file = next(tmp_path.rglob("*.safetensors"))
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-7], "empty": b"", "rubbish": b"\xff" * len(data)}[damage])
    with caplog.at_level(logging.WARNING):
        assert kept.get(KEY) is None
    assert "damaged" in caplog.text and not kept.contains(KEY)
    kept.put(KEY, {"values": torch.ones(2)})
    assert kept.get(KEY) is not None


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at the last moment: the old value stays, no temporary file stays."""
    kept = TokenCache(tmp_path)
    kept.put(KEY, {"values": torch.ones(2)})

    def full(source: object, target: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        kept.put(KEY, {"values": torch.zeros(2)})
    got = kept.get(KEY)
    assert got is not None and torch.equal(got["values"], torch.ones(2))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [f"{KEY}.safetensors"]


@pytest.mark.parametrize("key", ["", "short", "../" * 22, "AB" * 32, "ab" * 32 + "\n"])
def test_keys_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    """Only what `key()` makes is a key."""
    with pytest.raises(ConfigError, match="not a token cache key"):
        TokenCache(tmp_path).get(key)


def _write_often(folder: str, value: int) -> None:
    kept = TokenCache(folder)
    for _ in range(25):
        kept.put(KEY, {"values": torch.full((2000,), float(value))})
        got = kept.get(KEY)
        assert got is not None and len(set(got["values"].tolist())) == 1


def test_two_processes_write_the_same_key(tmp_path: Path) -> None:
    """Readers always see one whole value."""
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_write_often, args=(str(tmp_path), value)) for value in (1, 2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def test_key_is_content_and_settings(tmp_path: Path) -> None:
    """Names, order of settings and the machine do not matter; bytes and settings do."""
    kept = TokenCache(tmp_path / "store")
    one, same, other = tmp_path / "one", tmp_path / "same", tmp_path / "other"
    for file, data in ((one, b"film"), (same, b"film"), (other, b"Film")):
        file.write_bytes(data)
    key = kept.key(one, {"a": 1, "b": [1.5, None]})
    assert (
        key
        == kept.key(str(same), {"b": [1.5, None], "a": 1})
        == TokenCache(tmp_path).key(one, {"a": 1, "b": [1.5, None]})
    )
    different = [
        kept.key(other, {"a": 1, "b": [1.5, None]}),
        kept.key(one, {"a": 2, "b": [1.5, None]}),
        kept.key(one, {}),
    ]
    different += [
        kept.key([one], {}),
        kept.key([one, same], {}),
        kept.key({"depth": str(one)}, {}),
        kept.key(b"digest", {}),
    ]
    assert len({key, *different}) == 1 + len(different)
    assert kept.key({"depth": str(one), "scale": 2}, {}) == kept.key(
        {"scale": 2, "depth": str(same)}, {}
    )
    assert kept.key({"depth": [str(one)], "x": {"y": 1}}, {}) != kept.key(
        {"depth": [str(other)], "x": {"y": 1}}, {}
    )


def test_folders_count_by_their_files(tmp_path: Path) -> None:
    """Names and bytes of all files."""
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "0.png").write_bytes(b"x")
    assert content_digest(tmp_path / "a") == content_digest(tmp_path / "b")
    (tmp_path / "b" / "sub" / "0.png").rename(tmp_path / "b" / "sub" / "1.png")
    assert content_digest(tmp_path / "a") != content_digest(tmp_path / "b")


def test_hashes_are_remembered_while_a_file_is_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the next process; a changed file is read again; one changed just now too."""
    reads: list[Path] = []
    original = digest.digest_bytes_of
    monkeypatch.setattr(
        digest, "digest_bytes_of", lambda file: reads.append(file) or original(file)
    )
    film, folder = tmp_path / "film", tmp_path / "store"
    film.write_bytes(b"one")
    fresh = TokenCache(folder)
    fresh.key(film, {})
    fresh.key(film, {})
    assert len(reads) == 2
    os.utime(film, ns=(10**18, 10**18))
    old = TokenCache(folder)
    first = old.key(film, {})
    assert old.key(film, {}) == TokenCache(folder).key(film, {}) == first and len(reads) == 3
    film.write_bytes(b"two")
    os.utime(film, ns=(10**18 + 1, 10**18 + 1))
    assert old.key(film, {}) != first and len(reads) == 4
    next((folder / "digests").iterdir()).write_text("rubbish")
    TokenCache(folder).key(film, {})
    assert len(reads) == 5


def test_refusals(tmp_path: Path) -> None:
    """A missing file, and settings that are no JSON."""
    kept = TokenCache(tmp_path)
    with pytest.raises(MediaError, match="nowhere"):
        kept.key(tmp_path / "nowhere", {})
    with pytest.raises(ConfigError, match="JSON"):
        kept.key(b"x", {"a": torch.zeros(1)})
    with pytest.raises(ConfigError, match="JSON"):
        kept.key(b"x", {"a": float("nan")})


def test_what_counts_as_a_cache(tmp_path: Path) -> None:
    """Its own parts do, and an empty folder; other folders and files do not."""
    assert is_cache(tmp_path) and not is_cache(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    assert not is_cache(tmp_path) and not is_cache(tmp_path / "notes.txt")
    TokenCache(tmp_path).put(KEY, {"values": torch.zeros(1)})
    assert is_cache(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "x" * 5000,
        {"video": "v", "offsets": [float("nan")]},
        {"path": "y" * 5000, "at": float("inf")},
    ],
)
def test_sources_that_have_no_content(source: object) -> None:
    with pytest.raises(MediaError, match=r"check the path|not finite"):
        content_digest(source)


@pytest.mark.parametrize("target", ["", "a folder", "itself", "/dev/zero", "/proc/kmsg"])
@pytest.mark.parametrize("name", [f"ab/{KEY}.safetensors", f"failed/{KEY}.json", "store.json"])
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str, target: str) -> None:
    """To open it would be to wait for ever."""
    kept = TokenCache(tmp_path)
    kept.put(KEY, {"values": torch.ones(1)})
    kept.fail(KEY, "no")
    pipe = tmp_path / name
    pipe.unlink(missing_ok=True)
    if target == "a folder":
        pipe.mkdir()
    elif target == "itself":
        pipe.symlink_to(pipe)
    elif target:
        pipe.symlink_to(target)
    else:
        os.mkfifo(pipe)

    def read() -> None:
        TokenCache(tmp_path)
        kept.get(KEY)
        kept.failure(KEY)

    said = r"(a file is needed here|is a link to itself; give the file); remove it, and"
    with pytest.raises(ConfigError, match=said):
        read()
