"""Caches that older versions packed into shards: read where they lie, made single files of."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pave.cache import TokenCache, gc, list_entries, merge, stats, unpack, verify
from pave.cli import main

OLD = Path(__file__).parents[1] / "data/cache/packed"
PACKED = {0: 2, 1: 4, 2: 2, 3: 4}  # entry -> steps
SINGLE = 4


def key(number: int) -> str:
    return f"{number:064x}"


def holds(cache: TokenCache, number: int) -> bool:
    """What the older version was given, see the data's README."""
    found = cache.get(key(number))
    if found is None:
        return False
    steps = PACKED[number]
    values = (torch.arange(4.0 * steps).view(steps, 1, 4) + number).to(torch.bfloat16)
    times = torch.arange(steps, dtype=torch.float64)
    return torch.equal(found["values"], values) and torch.equal(found["times"], times)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shards/*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_packed_entries_are_read_where_they_lie(folder: Path) -> None:
    cache = TokenCache(folder)
    assert cache.keys() == {key(number) for number in range(5)} and cache.dtype == torch.bfloat16
    assert all(holds(cache, number) for number in PACKED)
    assert cache.contains(key(3)) and not cache.contains(key(9)) and cache.get(key(9)) is None
    got = cache.get(key(3))
    assert got is not None
    got["values"].zero_()
    assert holds(cache, 3)  # what a reader does to its tensors reaches nobody
    assert [entry.place[:7] for entry in list_entries(cache)] == ["00/0000"] + 4 * ["shards/"]
    counted = stats(cache)
    assert (counted["entries"], counted["packed"], counted["failures"]) == (5, 4, 1)
    report = verify(cache)
    assert (report.checked, report.unchecked, report.damaged) == (5, 0, [])
    assert len(shards(folder)) == 2  # looking changes nothing


def test_unpacking_loses_nothing(folder: Path) -> None:
    cache, other = TokenCache(folder), TokenCache(folder)
    assert holds(other, 0)
    assert unpack(cache) == 4 and shards(folder) == [] and unpack(cache) == 0
    # The other one has looked at the shards, and now finds the files.
    assert all(holds(one, number) for one in (cache, other) for number in PACKED)
    assert {(row.label, row.content) for row in list_entries(cache)} == {
        (f"audio/l{number % 2}", key(1000 + number)) for number in range(5)
    }
    assert verify(cache).checked == 5


def test_what_was_put_last_stays(folder: Path) -> None:
    """Over a packed value, before and after it is unpacked."""
    cache = TokenCache(folder)
    newer = {"values": torch.ones(1, 1, 4)}
    cache.put(key(1), newer)
    assert cache.get(key(1)).keys() == {"values"} and unpack(cache) == 3
    assert cache.get(key(1)).keys() == {"values"} and holds(cache, 3)


def test_a_kill_between_files_and_removal_leaves_no_second_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = TokenCache(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            unpack(cache)
    assert len(shards(folder)) == 2 and len(list_entries(cache)) == 5
    unpack(cache)
    assert shards(folder) == [] and all(holds(cache, number) for number in PACKED)


def test_gc_and_merge_take_packed_entries_too(folder: Path, tmp_path: Path) -> None:
    into = TokenCache(tmp_path / "all", torch.bfloat16)
    assert merge(into, [TokenCache(folder)]) == 5
    assert all(holds(into, number) for number in PACKED) and into.failure(key(9)) == "broken"
    cache = TokenCache(folder)
    report = gc(cache, drop=["audio/l1"])
    assert (report.entries, report.unpacked) == (2, 4) and shards(folder) == []
    assert cache.keys() == {key(0), key(2), key(SINGLE)}


@pytest.mark.parametrize("damage", ["bit", "rubbish"])
def test_a_damaged_shard_counts_as_missing_and_verify_removes_it(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    (shard,) = [path for path in shards(folder) if f"{key(2)}.values" in load_file(path)]
    data = bytearray(shard.read_bytes())
    if damage == "bit":
        data[
            bytes(data).index(TokenCache(folder).get(key(2))["values"].view(torch.uint8).numpy())
        ] ^= 1
    else:
        data[:] = b"rubbish"
    shard.write_bytes(data)
    cache = TokenCache(folder)
    lost = [2] if damage == "bit" else [0, 2]
    with caplog.at_level(logging.WARNING):
        report = verify(cache)
        assert len(report.damaged) == 1 and gc(cache).unpacked == 4 - len(lost)
    assert shards(folder) == [shard]  # gc removes nothing that it was not told to
    assert verify(cache, remove=True).damaged and shards(folder) == []
    assert [number for number in PACKED if not holds(cache, number)] == lost
    assert verify(cache).damaged == []


def test_the_verbs_old_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "gc", str(folder)]) == main(["cache", "stats", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "unpacked   4" in out and "entries   5" in out
