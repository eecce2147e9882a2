"""Several processes as torchrun starts them, on one machine or on "two" of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def environment(**more: str) -> dict[str, str]:
    """What a process of a launch finds, with one thread each."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


def launched(
    words: Sequence[str], *, processes: int = 2, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program (or `-m module`) under torchrun on one machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc_per_node", str(processes), *words]
    return subprocess.run(
        command, env=environment(), cwd=cwd, capture_output=True, text=True, timeout=600
    )


def on_two_machines(words: Sequence[str], places: Sequence[Path]) -> list[tuple[int, str, str]]:
    """One process in each of two launches that find each other; what became of each.

    Args:
        words: The program.
        places: The folder that each "machine" works in.
    """
    port = free_port()
    running = []
    for place in places:
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
        command += ["--nproc_per_node", "1", "--rdzv-backend", "c10d"]
        command += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
        running.append(
            subprocess.Popen(
                [*command, *words], env=environment(), cwd=place, stdout=-1, stderr=-1, text=True
            )
        )
    ended = []
    for process in running:
        out, err = process.communicate(timeout=300)
        ended.append((process.returncode, out, err))
    return ended


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
