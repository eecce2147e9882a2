"""Time reads from the token store's shards against one safetensors file a clip, and say how they compare.

    python benchmarks/store.py                         # 600 clips of [100..600, 1, 1024] in bf16
    python benchmarks/store.py --clips 2000 --write    # also puts the table into docs/performance.md

`ratio` is the shards' speed / the files' speed for the same clips in the same order: above 1,
shards are faster. Both are read in turn, seven times; the best time counts, because other work on
the machine only ever makes it longer. "cold" means that the kernel was asked to forget the files
before (`posix_fadvise`); what a disk's own cache then does is not controlled.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pages import between_marks

from pave.cache import TokenCache, pack

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
REPEATS = 7


def fill(folder: Path, clips: int) -> tuple[TokenCache, list[str], int]:
    """A store of single files with as many clips; store, keys, bytes."""
    store, size = TokenCache(folder, torch.bfloat16), 0
    chance = torch.Generator().manual_seed(0)
    keys = [store.key(number.to_bytes(8, "big"), {}) for number in range(clips)]
    for key in keys:
        steps = int(torch.randint(100, 601, (1,), generator=chance))
        values = torch.randn(steps, 1, 1024, generator=chance)
        store.put(
            key,
            {"values": values, "times": torch.arange(steps, dtype=torch.float64)},
            label="audio/mel",
        )
        size += 2 * values.numel() + 8 * steps
    return store, keys, size


def forget(folder: Path) -> None:
    """Ask the kernel to drop the files of a folder from its cache."""
    for path in folder.rglob("*.safetensors"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read(folder: Path, keys: Sequence[str], cold: bool) -> float:
    """Seconds to read all keys in order with a store that was just opened; every value is touched."""
    if cold:
        forget(folder)
    store = TokenCache(folder)
    started = time.perf_counter()
    for key in keys:
        tensors = store.get(key)
        assert tensors is not None
        tensors["values"].view(torch.int16).max()
    return time.perf_counter() - started


def rows(clips: int, folder: Path) -> list[tuple[str, float, float]]:
    """(kind of read, MB/s from single files, MB/s from shards)."""
    single, keys, size = fill(folder / "single", clips)
    packed, _, _ = fill(folder / "packed", clips)
    started = time.perf_counter()
    pack(packed)
    found = [("packing", float("nan"), size / 1e6 / (time.perf_counter() - started))]
    shuffled = random.Random(0).sample(keys, len(keys))
    for name, order, cold in (
        ("in order, cold", sorted(keys), True),
        ("random, cold", shuffled, True),
        ("in order, warm", sorted(keys), False),
        ("random, warm", shuffled, False),
    ):
        seconds = [
            (read(single.folder, order, cold), read(packed.folder, order, cold))
            for _ in range(REPEATS)
        ]
        one, many = (size / 1e6 / min(column) for column in zip(*seconds, strict=True))
        found.append((name, one, many))
    return found


def table(found: Sequence[tuple[str, float, float]], clips: int) -> str:
    """Markdown."""
    lines = ["| read | single files, MB/s | shards, MB/s | ratio |", "|---|---|---|---|"]
    for name, one, many in found:
        lines.append(f"| {name} | {one:.0f} | {many:.0f} | {many / one:.2f} |".replace("nan", "-"))
    machine = f"{os.cpu_count()} CPUs, Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}"
    return "\n".join([*lines, "", f"`python benchmarks/store.py --clips {clips}`, {machine}."])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument(
        "--folder", type=Path, help="where to put the stores; a temporary folder when not given"
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
        PAGE.write_text(between_marks(page, "store", text), encoding="utf-8")


if __name__ == "__main__":
    main()
