"""Checking, cleaning and joining caches: entries are never lost, never doubled, never wrong."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pave.cache import TokenCache, gc, merge, stats, verify
from pave.errors import ConfigError
from pave.files import UNFINISHED


def key(number: int) -> str:
    return f"{number:064x}"


def value(number: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {
        "values": torch.randn(2 + number % 3, 1, 4, generator=generator),
        "times": torch.arange(2 + number % 3, dtype=torch.float64),
    }


def fill(folder: Path, numbers: range | list[int], label: str = "audio/mel") -> TokenCache:
    cache = TokenCache(folder)
    for number in numbers:
        cache.put(key(number), value(number), label=label, content=key(1000 + number))
    return cache


def holds(cache: TokenCache, number: int) -> bool:
    got = cache.get(key(number))
    return got is not None and all(
        torch.equal(got[name], tensor) for name, tensor in value(number).items()
    )


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 12)),
            st.tuples(st.sampled_from(["gc", "reopen"]), st.just(0)),
            st.tuples(st.just("drop"), st.integers(0, 2)),
            st.tuples(st.just("merge"), st.integers(0, 12)),
        ),
        max_size=25,
    )
)
def test_a_cache_is_a_dictionary_whatever_is_done_to_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Two readers, one that opened it long ago, see the same entries after any upkeep."""
    folder = tmp_path_factory.mktemp("s")
    old, cache, model = TokenCache(folder / "a"), TokenCache(folder / "a"), dict[int, str]()
    for place, (step, number) in enumerate(steps):
        if step == "put":
            cache.put(key(number), value(number), label=f"l{number % 3}")
            model[number] = f"l{number % 3}"
        elif step == "drop":
            gc(cache, drop=[f"l{number}"])
            model = {n: label for n, label in model.items() if label != f"l{number}"}
        elif step == "merge":
            both = (number, number + 1)  # a key always has one label: both say what made the tokens
            others = [fill(folder / f"b{place}-{n}", [n], label=f"l{n % 3}") for n in both]
            merge(cache, others)
            model = {n: f"l{n % 3}" for n in both} | model
        elif step == "reopen":
            cache = TokenCache(folder / "a")
        else:
            gc(cache)
        for number in range(14):
            assert holds(cache, number) == (number in model) == holds(old, number)
        assert sorted(cache.keys()) == sorted(key(n) for n in model)
    gc(cache)
    report = verify(cache)
    assert (report.checked, report.unchecked, report.damaged) == (len(model), 0, [])


def test_verify_finds_one_flipped_bit(tmp_path: Path) -> None:
    cache = fill(tmp_path, range(4))
    file = cache.file(key(2))
    data = bytearray(file.read_bytes())
    at = bytes(data).index(value(2)["values"].numpy().tobytes())
    data[at] ^= 1
    file.write_bytes(bytes(data))
    cache = TokenCache(tmp_path)
    report = verify(cache)
    assert report.checked == 3 and len(report.damaged) == 1 and key(2) in report.damaged[0]
    verify(cache, remove=True)
    assert [cache.contains(key(number)) for number in range(4)] == [True, True, False, True]
    assert verify(cache).damaged == []


def test_entries_without_a_note_are_read_and_copied(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    cache.file(key(1)).parent.mkdir(parents=True)
    save_file(value(1), cache.file(key(1)))
    assert holds(cache, 1) and verify(cache).unchecked == 1
    into = TokenCache(tmp_path / "new")
    assert merge(into, [cache]) == 1 and holds(into, 1) and verify(into).checked == 1


def test_gc_removes_left_overs_and_what_is_named(tmp_path: Path) -> None:
    cache = fill(tmp_path, range(6))
    fill(tmp_path, [20, 21], label="visual/smol")
    fresh, old = tmp_path / "00" / f"{UNFINISHED}fresh", tmp_path / "00" / f"{UNFINISHED}old"
    for file in (fresh, old):
        file.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    assert gc(cache).left_over == 1 and fresh.exists() and not old.exists()
    report = gc(cache, keep={key(1000 + n) for n in (0, 1, 2, 3, 4, 20)})
    assert report.entries == 2 and report.bytes > 0
    assert sorted(cache.keys()) == [key(n) for n in (0, 1, 2, 3, 4, 20)]
    assert gc(cache, drop={"visual/smol"}).entries == 1
    counted = stats(cache)
    assert counted["entries"] == 5 and set(counted["by_label"]) == {"audio/mel"}  # type: ignore[call-overload]
    assert all(holds(cache, number) for number in range(5))


def test_merge_copies_what_is_missing_and_the_failures(tmp_path: Path) -> None:
    one, two = fill(tmp_path / "one", range(5)), fill(tmp_path / "two", range(3, 9))
    two.fail(key(50), "broken")
    into = TokenCache(tmp_path / "all")
    assert merge(into, [one, two]) == 9
    assert all(holds(into, number) for number in range(9)) and into.failure(key(50)) == "broken"
    assert merge(into, [one]) == 0
    with pytest.raises(ConfigError, match="into itself"):
        merge(into, [into])
    with pytest.raises(ConfigError, match="is an empty token cache"):
        merge(into, [TokenCache(tmp_path / "nowhere")])
    narrow = TokenCache(tmp_path / "narrow", torch.bfloat16)
    narrow.put(key(1), value(1))
    with pytest.raises(ConfigError, match="extract both with one type"):
        merge(into, [narrow])


def test_damage_does_not_spread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = fill(tmp_path / "a", range(2))
    data = bytearray(cache.file(key(1)).read_bytes())
    data[-1] ^= 1
    cache.file(key(1)).write_bytes(bytes(data))
    into = TokenCache(tmp_path / "b")
    with caplog.at_level(logging.WARNING):
        assert merge(into, [cache]) == 1
    assert holds(into, 0) and not into.contains(key(1)) and "checksum" in caplog.text


def test_a_cache_keeps_to_its_type(tmp_path: Path) -> None:
    TokenCache(tmp_path / "s", torch.bfloat16).put(key(1), value(1))
    again = TokenCache(tmp_path / "s")
    again.put(key(2), value(2))
    got = again.get(key(2))
    assert again.dtype == torch.bfloat16 and got is not None
    assert (got["values"].dtype, got["times"].dtype) == (torch.bfloat16, torch.float64)
    with pytest.raises(ConfigError, match="stores torch.bfloat16, not torch.float16"):
        TokenCache(tmp_path / "s", torch.float16)
    fill(tmp_path / "exact", [1])
    with pytest.raises(ConfigError, match="as they were given"):
        TokenCache(tmp_path / "exact", torch.bfloat16)
    (tmp_path / "s" / "store.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        TokenCache(tmp_path / "s")
