"""One input in a process of its own, with limits: what it does there is a verdict.

The process is a fork, so that torch is imported once: 10 ms instead of seconds an input. The parent
must never decode, since FFmpeg's threads do not live on in a fork.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pave.errors import PaveError
from pave.files import PlaceError

CPU_SECONDS = 20
WALL_SECONDS = 60.0  # without a tick of CPU time; a busy machine may give a process little
SPARE_MEMORY = 4 << 30  # bytes of addresses beside those of the parent
SPARE_FILE = 256 << 20
GOOD = ("ok", "typed")


@dataclass(frozen=True)
class Verdict:
    """What became of an input.

    Attributes:
        kind: "ok"; "typed", a `PaveError`; "untyped", any other error; "hang"; "memory"; "signal".
        error: Class of the error, or the signal.
        where: The innermost function of pave on the way to it.
        text: The error's message.
        trace: The traceback of what is not good.
        cpu: CPU seconds.
        peak: Most memory, in MB.
    """

    kind: str
    error: str = ""
    where: str = ""
    text: str = ""
    trace: str = ""
    cpu: float = 0.0
    peak: int = 0

    @property
    def signature(self) -> str:
        """Equal for findings that have one cause, as far as can be told."""
        return f"{self.kind} {self.error} {self.where}".strip()


def run(work: Callable[[], object], log: Path, cpu_seconds: int | None = None) -> Verdict:
    """Do some work in a fork.

    Args:
        work: What to do; its result is thrown away.
        log: Takes what is written to the two output streams.
        cpu_seconds: How much it may take; `CPU_SECONDS` by default.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _be_child(work, log, writer, cpu_seconds or CPU_SECONDS)
    os.close(writer)
    text = _answer(reader, process)
    os.close(reader)
    _, status, used = os.wait4(process, 0)
    facts = {"cpu": round(used.ru_utime + used.ru_stime, 2), "peak": used.ru_maxrss >> 10}
    if text is None:
        return Verdict("hang", "wall time", **facts)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        kind = "hang" if number == signal.SIGXCPU else "signal"
        return Verdict(kind, signal.Signals(number).name, **facts)
    if not text:
        return Verdict("untyped", f"exit {os.WEXITSTATUS(status)}", **facts)
    return Verdict(**(json.loads(text) | facts))


def _answer(reader: int, process: int) -> bytes | None:
    """What the child says, until it ends; None if it had to be ended."""
    found = b""
    ticks = 0
    while True:
        ready, _, _ = select.select([reader], [], [], WALL_SECONDS)
        # One that is only slow goes on, up to its CPU limit; one that waits uses nothing.
        if not ready and (used := _ticks(process)) > ticks:
            ticks = used
            continue
        if not ready:
            os.killpg(process, signal.SIGKILL)
            return None
        piece = os.read(reader, 1 << 16)
        if not piece:
            return found
        found += piece


def _ticks(process: int) -> int:
    """CPU time of a process so far, in the kernel's ticks (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _be_child(work: Callable[[], object], log: Path, writer: int, cpu_seconds: int) -> None:
    """Never returns."""
    try:
        os.setpgid(0, 0)  # what it starts is ended with it
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _limit(cpu_seconds)
        verdict = _verdict(work)
        os.write(writer, json.dumps(asdict(verdict)).encode())
    finally:
        os._exit(0)  # no handlers of the parent's, no waiting for threads


def _limit(cpu_seconds: int) -> None:
    """Bound what this process may take."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + SPARE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (SPARE_FILE, SPARE_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _verdict(work: Callable[[], object]) -> Verdict:
    """Do the work, and name how it ended."""
    try:
        work()
    except (PaveError, PlaceError) as error:
        return Verdict("typed", type(error).__name__, _where(error), str(error)[:500])
    except MemoryError as error:
        return Verdict("memory", type(error).__name__, _where(error), str(error)[:500], _trace())
    except BaseException as error:
        # torch says so in words.
        kind = "memory" if "can't allocate memory" in str(error) else "untyped"
        return Verdict(kind, type(error).__name__, _where(error), str(error)[:500], _trace())
    return Verdict("ok")


def _trace() -> str:
    """The traceback that is being handled, its end if it is long."""
    return traceback.format_exc()[-6000:]


def _where(error: BaseException) -> str:
    """The innermost frame of pave, as "media/sound.py:read_sound"."""
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if "/pave/" in name:
            found = f"{name.rpartition('/pave/')[2]}:{frame.f_code.co_qualname}"
    return found


def warn_if_threaded() -> None:
    """Say so if the parent has threads: a fork does not have them, and may wait for them."""
    count = len(os.listdir("/proc/self/task"))
    if count > 1:
        print(f"note: {count} threads before the forks; set OMP_NUM_THREADS=1", file=sys.stderr)
