"""Time reads from the token cache, one safetensors file a clip, against shards of 200 clips each.

    python benchmarks/cache.py                         # 10,000 clips of [16..96, 1, 1024] in bf16
    python benchmarks/cache.py --clips 500 --write     # also writes it to docs/performance.md

The question is whether packing entries would be worth its code: pave once did it, and reads such
caches still. Both are read in turn, three times; the best time counts, because other work on the
machine only ever makes it longer. "cold" means that the kernel was asked to forget the files before
(`posix_fadvise`); what a disk's own cache then does is not controlled. Training reads at random.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pages import between_marks
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pave.cache import TokenCache

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
REPEATS = 3
STEPS = (16, 96)
PER_SHARD = 200


def fill(folder: Path, clips: int) -> list[str]:
    """A cache with as many clips; their keys."""
    cache = TokenCache(folder, torch.bfloat16)
    chance = torch.Generator().manual_seed(0)
    keys = []
    for number in range(clips):
        steps = int(torch.randint(STEPS[0], STEPS[1] + 1, (1,), generator=chance))
        tensors = {
            "values": torch.randn(steps, 1, 1024, generator=chance),
            "times": torch.arange(steps, dtype=torch.float64),
        }
        keys.append(cache.key(number.to_bytes(8, "big"), {}))
        cache.put(keys[-1], tensors, label="audio/mel")
    return keys


def pack(source: Path, folder: Path, keys: Sequence[str]) -> None:
    """The same entries as older versions of pave packed them."""
    cache = TokenCache(source)
    (folder / "shards").mkdir(parents=True)
    for start in range(0, len(keys), PER_SHARD):
        tensors, notes = {}, {}
        for key in keys[start : start + PER_SHARD]:
            for name, tensor in load_file(cache.file(key)).items():
                tensors[f"{key}.{name}"] = tensor
            note = cache.note(key)
            assert note is not None
            notes[key] = note.to_json()
        file = folder / "shards" / f"{start}.safetensors"
        save_file(tensors, file, metadata={"entries": json.dumps(notes)})


def forget(folder: Path) -> None:
    """Ask the kernel to drop the files of a folder from its cache."""
    for path in folder.rglob("*.safetensors"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def look(folder: Path, keys: Sequence[str]) -> float:
    """Seconds to open a cache and ask for every key, as the start of a training does."""
    started = time.perf_counter()
    cache = TokenCache(folder)
    assert all(cache.contains(key) for key in keys)
    return time.perf_counter() - started


def read(folder: Path, keys: Sequence[str]) -> float:
    """Seconds to open a cache and read all keys in order; every value is touched."""
    started = time.perf_counter()
    cache = TokenCache(folder)
    for key in keys:
        tensors = cache.get(key)
        assert tensors is not None
        tensors["values"].view(torch.int16).max()
    return time.perf_counter() - started


def read_shards(folder: Path, keys: Sequence[str]) -> float:
    """The same from shards that stay open, as the versions that packed read them."""
    started = time.perf_counter()
    places = {}
    for file in folder.glob("shards/*.safetensors"):
        shard = safe_open(file, framework="pt")
        for key in json.loads(shard.metadata()["entries"]):
            places[key] = shard
    for key in keys:
        values = places[key].get_tensor(f"{key}.values").clone()
        places[key].get_tensor(f"{key}.times").clone()
        values.view(torch.int16).max()
    return time.perf_counter() - started


def rows(clips: int, folder: Path) -> list[tuple[str, float, float]]:
    """(kind of read, ms a clip from single files, ms a clip from shards)."""
    keys = fill(folder / "single", clips)
    pack(folder / "single", folder / "packed", keys)
    shuffled = random.Random(0).sample(keys, len(keys))
    kinds: list[tuple[str, Callable[[Path, Sequence[str]], float], list[str], bool]] = [
        ("is it there", look, keys, False),
        ("in order, cold", read, sorted(keys), True),
        ("random, cold", read, shuffled, True),
        ("in order, warm", read, sorted(keys), False),
        ("random, warm", read, shuffled, False),
    ]
    found = []
    for name, way, order, cold in kinds:
        best = [float("inf"), float("inf")]
        for _ in range(REPEATS):
            for column, place in enumerate(("single", "packed")):
                if cold:
                    forget(folder / place)
                timed = read_shards if way is read and place == "packed" else way
                best[column] = min(best[column], timed(folder / place, order))
        found.append((name, 1000 * best[0] / clips, 1000 * best[1] / clips))
    return found


def table(found: Sequence[tuple[str, float, float]], clips: int) -> str:
    """Markdown."""
    lines = ["| read | single files, ms a clip | shards, ms a clip |", "|---|---|---|"]
    lines += [f"| {name} | {single:.2f} | {packed:.2f} |" for name, single, packed in found]
    version = torch.__version__.split("+")[0]
    machine = f"{os.cpu_count()} CPUs, Python {platform.python_version()}, torch {version}"
    return "\n".join([*lines, "", f"`python benchmarks/cache.py --clips {clips}`, {machine}."])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, help="where to put the caches; a temporary folder when not given"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/performance.md"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        text = table(rows(arguments.clips, Path(folder)), arguments.clips)
    print(text)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(between_marks(page, "cache", text), encoding="utf-8")


if __name__ == "__main__":
    main()
