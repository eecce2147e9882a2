"""Workers die of what they are given, and the next one goes on. All with real processes."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from pickle import PicklingError

import pytest

from pave.errors import MediaError
from pave.workers import WorkerDiedError, Workers


def workers(seconds: int = 300) -> Workers:
    return Workers(threads=1, device="cpu", seconds=seconds)


def test_one_process_does_all_and_is_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workers() as some:
        first = some.call("a", os.getpid)
        assert first != os.getpid()
        assert some.call("a", os.getpid) == first
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAVE_MAX_PIXELS", "7")
    monkeypatch.syspath_prepend(tmp_path)
    with workers() as some:  # it has waited meanwhile
        assert some.call("a", os.getpid) == first
        assert some.call("a", os.getcwd) == str(tmp_path)
        assert some.call("a", os.getenv, "PAVE_MAX_PIXELS") == "7"
        assert some.call("a", eval, "__import__('sys').path[0]") == str(tmp_path)


def test_errors_come_back_as_they_were_and_leave_the_worker(tmp_path: Path) -> None:
    from pave.media import frame_times

    with workers() as some:
        here = some.call("a", os.getpid)
        with pytest.raises(MediaError, match=r"nowhere\.mp4"):
            some.call("a", frame_times, tmp_path / "nowhere.mp4")
        with pytest.raises(ValueError, match="math domain error") as told:
            some.call("a", math.sqrt, -1)
        assert "Traceback" in told.value.__notes__[0]
        with pytest.raises(RuntimeError, match="SystemExit: 3"):  # which would end us
            some.call("a", sys.exit, 3)
        with pytest.raises((PicklingError, AttributeError), match="pickle"):  # no answer
            some.call("a", eval, "lambda: 1")
        assert some.call("a", os.getpid) == here


def test_a_worker_that_dies_is_told_and_replaced() -> None:
    with workers() as some:
        first = some.call("a", os.getpid)
        with pytest.raises(
            WorkerDiedError, match=r"^bad\.mp4: the process that read it died \(SIGSEGV;"
        ):
            some.call("bad.mp4", signal.raise_signal, signal.SIGSEGV)
        assert some.call("a", os.getpid) != first


@pytest.mark.slow  # a process more to start
def test_a_worker_that_was_killed_while_idle_costs_nothing() -> None:
    with workers() as some:
        first = some.call("a", os.getpid)
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # until it has ended, and not for good
        assert some.call("a", os.getpid) != first


def test_a_worker_that_hangs_is_ended() -> None:
    with workers() as some:
        assert some.call("a", abs, -1) == 1  # it has begun, which may take longer
        some.seconds = 1
        with pytest.raises(
            WorkerDiedError, match=r"bad\.mp4: .*no progress for 1 s \(PAVE_MAX_CLIP"
        ):
            some.call("bad.mp4", time.sleep, 1000)


ORPHAN = """
import os, time
from pave.workers import Workers

with Workers(threads=1, device="cpu", seconds=99) as some:
    print(some.call("a", os.getpid), flush=True)
    some.call("a", time.sleep, 1000)
"""


@pytest.mark.slow
def test_a_killed_parent_leaves_nobody() -> None:
    source = str(Path(__file__).parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    command = [sys.executable, "-c", ORPHAN]
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the worker is still there")
