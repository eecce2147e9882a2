"""Packing, checking, cleaning and joining stores: entries are never lost, never doubled, never silently wrong."""

from __future__ import annotations

import json
import logging
import multiprocessing
import multiprocessing.synchronize
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pave.cache import (
    Leases,
    TokenCache,
    gc,
    list_entries,
    merge,
    pack,
    shards,
    stats,
    upkeep,
    verify,
)
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


def fill(
    folder: Path, numbers: range | list[int], label: str = "audio/mel", packed: bool = False
) -> TokenCache:
    store = TokenCache(folder)
    for number in numbers:
        store.put(key(number), value(number), label=label, content=key(1000 + number))
    if packed:
        pack(store)
    return store


def holds(store: TokenCache, number: int) -> bool:
    got = store.get(key(number))
    return got is not None and all(
        torch.equal(got[name], tensor) for name, tensor in value(number).items()
    )


def places(store: TokenCache) -> list[str]:
    """Every copy of every key, wherever it is."""
    store.shards.refresh()
    return [*store.loose_keys(), *(k for notes in store.shards.notes().values() for k in notes)]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shards, upkeep):
        monkeypatch.setattr(module, "MOST_ENTRIES", 4)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 12)),
            st.tuples(st.sampled_from(["pack", "gc", "reopen"]), st.just(0)),
            st.tuples(st.just("drop"), st.integers(0, 2)),
            st.tuples(st.just("merge"), st.integers(0, 12)),
        ),
        max_size=25,
    )
)
def test_a_store_is_a_dictionary_whatever_is_done_to_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Two readers, one of which opened the store long ago, see the same entries after any upkeep."""
    folder = tmp_path_factory.mktemp("s")
    old, store, model = TokenCache(folder / "a"), TokenCache(folder / "a"), dict[int, str]()
    for place, (step, number) in enumerate(steps):
        if step == "put":
            store.put(key(number), value(number), label=f"l{number % 3}")
            model[number] = f"l{number % 3}"
        elif step == "drop":
            gc(store, drop=[f"l{number}"])
            model = {n: label for n, label in model.items() if label != f"l{number}"}
        elif step == "merge":
            both = (number, number + 1)  # a key always has one label: both say what made the tokens
            others = [
                fill(folder / f"b{place}-{n}", [n], label=f"l{n % 3}", packed=bool(number % 2))
                for n in both
            ]
            merge(store, others)
            model = {n: f"l{n % 3}" for n in both} | model
        elif step == "reopen":
            store = TokenCache(folder / "a")
        else:
            {"pack": pack, "gc": gc}[step](store)
        for number in range(14):
            assert holds(store, number) == (number in model) == holds(old, number)
        assert sorted(store.keys()) == sorted(key(n) for n in model)
    gc(store)
    assert len(places(store)) == len(set(places(store))) == len(model)
    report = verify(store)
    assert (report.checked, report.unchecked, report.damaged) == (len(model), 0, [])


def test_packed_entries_are_read_one_at_a_time(tmp_path: Path) -> None:
    store = fill(tmp_path, range(10), packed=True)
    assert [p.name for p in tmp_path.glob("??/*")] == []
    assert len(list((tmp_path / "shards").iterdir())) == 3
    got = store.get(key(3))
    assert got is not None
    got["values"].zero_()
    assert holds(store, 3)  # what a reader does to its tensors reaches nobody
    assert all(holds(TokenCache(tmp_path), number) for number in range(10))
    assert not store.contains(key(11)) and store.get(key(11)) is None
    assert pack(store) == 0


def test_plain_safetensors_reads_a_shard(tmp_path: Path) -> None:
    fill(tmp_path, [7], packed=True)
    (file,) = (tmp_path / "shards").iterdir()
    assert torch.equal(load_file(file)[f"{key(7)}.values"], value(7)["values"])


def test_a_damaged_shard_counts_as_missing_and_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(4), packed=True)
    (file,) = (tmp_path / "shards").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    store = TokenCache(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert store.get(key(1)) is None
    assert "damaged" in caplog.text
    for number in range(4):
        store.put(key(number), value(number), label="audio/mel")
    assert pack(store) == 4  # under the same name, since the same keys are inside
    assert all(holds(store, number) for number in range(4)) and verify(store).damaged == []


@pytest.mark.parametrize("packed", [False, True])
def test_verify_finds_one_flipped_bit(tmp_path: Path, packed: bool) -> None:
    store = fill(tmp_path, range(4), packed=packed)
    file = next((tmp_path / "shards").iterdir()) if packed else store.loose(key(2))
    data = bytearray(file.read_bytes())
    at = bytes(data).index(value(2)["values"].numpy().tobytes())
    data[at] ^= 1
    file.write_bytes(bytes(data))
    store = TokenCache(tmp_path)
    report = verify(store)
    assert report.checked == 3 and len(report.damaged) == 1 and key(2) in report.damaged[0]
    verify(store, remove=True)
    assert [store.contains(key(number)) for number in range(4)] == [True, True, False, True]
    assert verify(store).damaged == []


def test_verify_names_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    fill(tmp_path, range(4), packed=True)
    (file,) = (tmp_path / "shards").iterdir()
    file.write_bytes(b"rubbish")
    store = TokenCache(tmp_path)
    assert "cannot be opened" in verify(store).damaged[0]
    verify(store, remove=True)
    assert not file.exists()


def test_entries_of_older_versions_are_read_and_packed(tmp_path: Path) -> None:
    store = TokenCache(tmp_path)
    store.loose(key(1)).parent.mkdir(parents=True)
    save_file(value(1), store.loose(key(1)))
    assert holds(store, 1) and verify(store).unchecked == 1
    assert pack(store) == 1 and holds(store, 1) and verify(store).checked == 1


def test_a_kill_between_shard_and_removal_leaves_no_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path, range(3))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            upkeep._pack(store)
    assert len(places(store)) == 6 and len(store.keys()) == 3 and len(list_entries(store)) == 3
    pack(store)
    assert len(places(store)) == 3 and all(holds(store, number) for number in range(3))


def test_gc_removes_left_overs_and_what_is_named(tmp_path: Path) -> None:
    store = fill(tmp_path, range(6), packed=True)
    fill(tmp_path, [20, 21], label="visual/smol")
    fresh, old = tmp_path / "00" / f"{UNFINISHED}fresh", tmp_path / "00" / f"{UNFINISHED}old"
    for file in (fresh, old):
        file.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    assert gc(store).left_over == 1 and fresh.exists() and not old.exists()
    report = gc(store, keep={key(1000 + n) for n in (0, 1, 2, 3, 4, 20)})
    assert report.entries == 2 and report.bytes > 0
    assert sorted(store.keys()) == [key(n) for n in (0, 1, 2, 3, 4, 20)]
    assert gc(store, drop={"visual/smol"}).entries == 1
    counted = stats(store)
    assert counted["entries"] == 5 and set(counted["by_label"]) == {"audio/mel"}  # type: ignore[call-overload]
    assert all(holds(store, number) for number in range(5))


def test_merge_copies_what_is_missing_and_the_failures(tmp_path: Path) -> None:
    one, two = fill(tmp_path / "one", range(5), packed=True), fill(tmp_path / "two", range(3, 9))
    two.fail(key(50), "broken")
    into = TokenCache(tmp_path / "all")
    assert merge(into, [one, two]) == 9
    assert all(holds(into, number) for number in range(9)) and into.failure(key(50)) == "broken"
    assert merge(into, [one]) == 0
    with pytest.raises(ConfigError, match="into itself"):
        merge(into, [into])
    with pytest.raises(ConfigError, match="holds no tokens"):
        merge(into, [TokenCache(tmp_path / "nowhere")])
    narrow = TokenCache(tmp_path / "narrow", torch.bfloat16)
    narrow.put(key(1), value(1))
    with pytest.raises(ConfigError, match="extract with one type"):
        merge(into, [narrow])


def test_damage_does_not_spread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = fill(tmp_path / "a", range(2))
    data = bytearray(store.loose(key(1)).read_bytes())
    data[-1] ^= 1
    store.loose(key(1)).write_bytes(bytes(data))
    into = TokenCache(tmp_path / "b")
    with caplog.at_level(logging.WARNING):
        assert merge(into, [store]) == 1
    assert holds(into, 0) and not into.contains(key(1)) and "checksum" in caplog.text


def test_a_store_keeps_to_its_type(tmp_path: Path) -> None:
    TokenCache(tmp_path / "s", torch.bfloat16).put(key(1), value(1))
    again = TokenCache(tmp_path / "s")
    again.put(key(2), value(2))
    got = again.get(key(2))
    assert again.dtype == torch.bfloat16 and got is not None
    assert (got["values"].dtype, got["times"].dtype) == (torch.bfloat16, torch.float64)
    with pytest.raises(ConfigError, match="keeps torch.bfloat16, not torch.float16"):
        TokenCache(tmp_path / "s", torch.float16)
    fill(tmp_path / "exact", [1])
    with pytest.raises(ConfigError, match="as they were given"):
        TokenCache(tmp_path / "exact", torch.bfloat16)
    (tmp_path / "s" / "store.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        TokenCache(tmp_path / "s")


# ---------------------------------------------------------------- leases


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with Leases(tmp_path) as one, Leases(tmp_path) as two:
        assert one.acquire("a") and not two.acquire("a") and two.acquire("b")
        one.release("a")
        assert two.acquire("a")
        one.release("a")  # not his any more
        assert not one.acquire("a")
        with one.hold("c", wait=False) as held, two.hold("c", wait=False) as other:
            assert held and not other
    assert list(tmp_path.iterdir()) == []


def _hold(folder: str, ready: multiprocessing.synchronize.Event) -> None:
    Leases(Path(folder)).acquire("a")
    ready.set()
    multiprocessing.Event().wait()


def test_a_killed_holder_on_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready))
    holder.start()
    assert ready.wait(30)
    with Leases(tmp_path) as mine:
        assert not mine.acquire("a")
        holder.kill()
        holder.join()
        assert mine.acquire("a")


@pytest.mark.parametrize(
    "owner", [json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}), "", "rubbish"]
)
def test_a_holder_elsewhere_is_replaced_when_it_stops_renewing(tmp_path: Path, owner: str) -> None:
    with Leases(tmp_path, stale=60) as mine:
        (tmp_path / "a").write_text(owner)
        assert not mine.acquire("a")
        os.utime(tmp_path / "a", (1e9, 1e9))
        assert mine.acquire("a")


@pytest.mark.parametrize("moment", ["link", "rename"])
def test_a_kill_in_the_midst_of_taking_a_lease_leaves_nothing(tmp_path: Path, moment: str) -> None:
    """Killed with its own lease written but not in place, or with a dead holder's put aside: the lease is free at once."""

    def die(*_: object, **__: object) -> None:
        os._exit(9)

    def take() -> None:
        setattr(
            os if moment == "link" else Path, moment, die if moment == "link" else moved_then_die
        )
        Leases(tmp_path).acquire("a")

    original = Path.rename

    def moved_then_die(self: Path, target: Path) -> None:
        original(self, target)
        os._exit(9)

    (tmp_path / "a").write_text("dead")
    os.utime(tmp_path / "a", (1e9, 1e9))
    process = multiprocessing.get_context("fork").Process(target=take)
    process.start()
    process.join(60)
    assert process.exitcode == 9 and any(path.name.startswith(".") for path in tmp_path.iterdir())
    with Leases(tmp_path) as mine:
        assert mine.acquire("a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_hard_links_keeps_leases_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with Leases(tmp_path) as one, Leases(tmp_path) as two:
        assert one.acquire("a") and not two.acquire("a")
        one.release("a")
        assert two.acquire("a")
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_see_a_dead_lease_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one moves the faster one's fresh lease aside, sees that, and puts it back."""
    with Leases(tmp_path) as fast, Leases(tmp_path) as slow:
        (tmp_path / "a").write_text("dead")
        os.utime(tmp_path / "a", (1e9, 1e9))
        original = Path.rename

        def rename(self: Path, target: Path) -> Path:
            monkeypatch.setattr(Path, "rename", original)
            assert fast.acquire("a")
            return original(self, target)

        monkeypatch.setattr(Path, "rename", rename)
        assert not slow.acquire("a")
        assert (tmp_path / "a").read_text() == fast._held["a"]
        assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_lease_is_renewed(tmp_path: Path) -> None:
    with Leases(tmp_path, stale=0.06) as mine:
        assert mine.acquire("a")
        os.utime(tmp_path / "a", (1e9, 1e9))
        mine._closed.wait(0.2)  # the renewing thread waits on the same event, a sixth of that
        for _ in range(200):
            if (tmp_path / "a").stat().st_mtime > 1e9:
                break
            mine._closed.wait(0.05)
        assert (tmp_path / "a").stat().st_mtime > 1e9


def test_what_was_put_last_stays(tmp_path: Path) -> None:
    """Over a packed value, and over one that is damaged."""
    store = fill(tmp_path, range(3), packed=True)
    newer = {name: tensor + 1 for name, tensor in value(1).items()}
    for settle in (pack, gc):
        store.put(key(1), newer)
        settle(store)
        got = store.get(key(1))
        assert (
            got is not None
            and torch.equal(got["values"], newer["values"])
            and holds(store, 0)
            and holds(store, 2)
        )
    pack(store)
    whole = next(
        path for path in (tmp_path / "shards").iterdir() if f"{key(2)}.values" in load_file(path)
    )
    content = bytearray(whole.read_bytes())
    content[-1] ^= 0x40
    whole.write_bytes(content)
    store = TokenCache(tmp_path)
    bad = [number for number in (0, 2) if not holds(store, number)]
    store.put(key(bad[0]), value(bad[0]))
    pack(store)
    assert len(bad) == 1 and holds(store, bad[0]) and verify(store).damaged == []
    assert sorted(places(store)) == sorted(set(places(store)))
