"""What ten million clips would ask of the token cache and of a cluster: small parts, measured.

    python benchmarks/scale.py          # a few minutes; prints the tables of docs/scale.md

Nobody here has ten million clips. What can be measured is one of the 256 folders of such a cache,
with the 39,063 entries that it would hold, and how the plan of an extraction grows. The cluster is
simulated: units of 8 clips are handed to workers in blocks, and workers are lost.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import peak_growth, spent

from pave.cache import TokenCache
from pave.extract import ExtractConfig
from pave.extract.cluster import BLOCKS_A_WORKER
from pave.extract.plan import CLIPS_PER_UNIT, plan

CLIPS = 10_000_000
FOLDERS = 256
HOUR = 3600.0
AWAY = 600.0  # seconds


def keys(count: int, folder: str = "") -> Iterator[str]:
    """So many keys, all of one folder of a cache where one is named."""
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        yield folder + digest[len(folder) :]


def look_ups(entries: int) -> tuple[float, float, float]:
    """Milliseconds to find an entry, to see that one is missing, and to list one, in one folder."""
    with TemporaryDirectory() as scratch:
        cache = TokenCache(Path(scratch))
        (cache.folder / "ab").mkdir()
        there = list(keys(entries, "ab"))
        for key in there:
            (cache.folder / "ab" / f"{key}.safetensors").touch()
        asked = random.Random(0).choices(there, k=500)
        missing = list(keys(500, "abff"))
        found = spent(lambda: [cache.contains(key) for key in asked])
        absent = spent(lambda: [cache.contains(key) for key in missing])
        listed = spent(lambda: sum(1 for _ in (cache.folder / "ab").iterdir()))
    return found / 500 * 1e3, absent / 500 * 1e3, listed / entries * 1e3


def plans(clips: int) -> tuple[float, float]:
    """CPU seconds and MB of the plan of an extraction."""
    with TemporaryDirectory() as scratch:
        records = Path(scratch) / "records.jsonl"
        with records.open("w") as out:
            for number in range(clips):
                row = {"id": f"q{number}", "video": f"{number}.mp4"}
                row |= {"channels": {"audio": f"{number}.mp4"}, "turns": [{"question": "What?"}]}
                out.write(json.dumps(row) + "\n")
        config = ExtractConfig(
            records=records, cache=Path(scratch) / "cache", channel="audio", encoder="mel"
        )
        with peak_growth() as grown:
            seconds = spent(lambda: plan(config))
            return seconds, grown()


def simulated(workers: int, blocks: int, mean: float, lost_an_hour: float) -> tuple[float, float]:
    """How long an extraction takes, against ideal, and how many clips are encoded twice.

    Args:
        workers: Encoding processes; a lost one comes back after `AWAY`.
        blocks: How many pieces the units are handed out in.
        mean: Seconds to encode a clip.
        lost_an_hour: Chance of a worker to be lost in an hour.
    """
    chance = random.Random(0)
    clips = CLIPS / blocks  # of a block
    unit = mean * CLIPS_PER_UNIT  # seconds
    # A block takes the sum of many times, each as spread as it is long: nearly a normal one.
    left = [max(0.0, chance.gauss(mean * clips, mean * clips**0.5)) for _ in range(blocks)]
    free = [0.0] * workers  # when each has nothing to do
    twice = end = 0.0
    while left:
        now, seconds = heapq.heappop(free), left.pop()
        until_lost = chance.expovariate(lost_an_hour / HOUR)
        if until_lost < seconds:
            # What it had encoded is in the cache, except for its unit at hand.
            twice += unit / 2
            left.append(seconds - until_lost + unit / 2)
            heapq.heappush(free, now + until_lost + AWAY)
            continue
        heapq.heappush(free, now + seconds)
        end = max(end, now + seconds)
    return end / (CLIPS * mean / workers), twice / mean


def main() -> None:
    """Print all tables."""
    print("entries of a folder | found, ms | missing, ms | listed, ms an entry")
    for entries in (400, 4_000, CLIPS // FOLDERS + 1):
        print(entries, *(f"{value:.4f}" for value in look_ups(entries)), sep=" | ")
    print("clips | plan, CPU s | MB")
    for clips in (20_000, 60_000, 180_000):
        seconds, grown = plans(clips)
        print(clips, f"{seconds:.1f}", f"{grown:.0f}", sep=" | ")
    print("workers | blocks a worker | time against ideal | clips encoded twice")
    for workers in (64, 512):
        for a_worker in (5, 50, BLOCKS_A_WORKER):
            time_, twice = simulated(workers, workers * a_worker, 2.0, 0.01)
            print(workers, a_worker, f"{time_:.3f}", f"{twice:,.0f}", sep=" | ")


if __name__ == "__main__":
    main()
