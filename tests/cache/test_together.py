"""Several processes write, clean up and verify one cache: what was put stays, nothing raises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

import pave
from pave.cache import TokenCache, gc

KEYS = 40
COMMON = """
import json, os, sys, time, warnings
from pathlib import Path
import torch
from pave.cache import TokenCache, gc, merge, stats, verify
folder, name = Path(sys.argv[1]), sys.argv[2]
cache = TokenCache(folder / "cache")
def key(number):
    return f"{number * 7919 + 1:064x}"
"""
# Every third entry is put over a damaged file, as after a disk that lost some bytes.
WRITE = """
for number in range({begin}, {begin} + {keys}):
    if number % 3 == 0:
        place = cache.file(key(number))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"damaged" * 9)
    cache.put(key(number), {{"values": torch.full((2, 1, 4), float(number))}}, label="mine")
    cache.fail(key(number + 10**6), "broken")
(folder / name).touch()
"""
CLEAN = """
end = time.monotonic() + 120  # a writer may have failed
while time.monotonic() < end and len(list(folder.glob("writer-*"))) < 2:
    gc(cache, drop=["theirs"])
    verify(cache, remove=True)
    stats(cache)
    merge(TokenCache(folder / "copy"), [cache])
"""


def start(folder: Path, name: str, script: str) -> subprocess.Popen[str]:
    source = str(Path(pave.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMON + script, str(folder), name],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_nothing_that_was_written_is_lost(tmp_path: Path) -> None:
    # Else there would be nothing to merge at first.
    TokenCache(tmp_path / "cache").put("0" * 64, {"values": torch.zeros(1)}, label="mine")
    processes = {}
    for number in range(2):
        script = WRITE.format(begin=1000 * number, keys=KEYS)
        processes[f"writer-{number}"] = start(tmp_path, f"writer-{number}", script)
    processes["cleaner"] = start(tmp_path, "cleaner", CLEAN)
    for name, process in processes.items():
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, (name, said)
    cache = TokenCache(tmp_path / "cache")
    for begin in (0, 1000):
        for number in range(begin, begin + KEYS):
            found = cache.get(f"{number * 7919 + 1:064x}")
            assert found is not None and float(found["values"].max()) == number
    assert list((tmp_path / "cache").rglob(".writing-*")) == []


def test_a_writer_that_is_stopped_for_hours_loses_nothing(tmp_path: Path) -> None:
    """A laptop that sleeps; the file that it was writing is swept up meanwhile."""
    script = """
import signal
from pave import files
real, stopped = files.sync, []
def sync(path):
    if not stopped:
        stopped.append(path)
        os.utime(path, (1e9, 1e9))
        (folder / "stopped").touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    real(path)
files.sync = sync
cache.put(key(1), {"values": torch.ones(2)}, label="mine")
"""
    writer = start(tmp_path, "writer", script)
    while not (tmp_path / "stopped").exists() and writer.poll() is None:
        os.sched_yield()
    stopped = Path(f"/proc/{writer.pid}/stat")
    while writer.poll() is None and stopped.read_text().rpartition(")")[2].split()[0] != "T":
        os.sched_yield()
    assert gc(TokenCache(tmp_path / "cache")).left_over == 1
    writer.send_signal(18)  # SIGCONT
    _, said = writer.communicate(timeout=300)
    assert writer.returncode == 0, said
    assert TokenCache(tmp_path / "cache").get(f"{7919 + 1:064x}") is not None
