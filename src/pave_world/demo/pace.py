"""The time of the short demo: what is left of it, how many steps fit, and on what machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

# Seconds after set-up that are promised are 300 and, with bf16 units, 180; the rest is the start of
# Python and a margin.
BUDGET = {"fp32": 280.0, "bf16": 165.0}
# A step takes two clips forward and backward, where an arm is asked about one: measured, with
# threads and all, as a multiple of the seconds that an arm takes for a clip.
_STEP = {"fp32": 4.2, "bf16": 3.0}
_START = 25.0  # seconds of a training process before its first step, and after its last


class Pace:
    """A clock that runs against a budget.

    Args:
        budget: Wall seconds; None for that of the precision.
        precision: What trainings run in here, "fp32" or "bf16".
        say: Gets a line at the start of each stage.
    """

    def __init__(self, budget: float | None, precision: str, say: Callable[[str], None]) -> None:
        self.budget = budget or BUDGET[precision]
        self.precision = precision
        self.say = say
        self._started = time.monotonic()  # a clock that no one sets back

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; below zero when it is spent."""
        return self.budget - self.seconds

    def tell(self, what: str) -> None:
        """Say that a stage begins, and how much time is left."""
        self.say(f"[{self.seconds:3.0f} s, {max(0.0, self.left):3.0f} s left] {what} ...")

    def steps(self, seconds: float, clip_seconds: float) -> int:
        """Steps that fit into some seconds of training.

        Args:
            seconds: What there is, start of the process included.
            clip_seconds: What an arm was measured to take for the questions about a clip.
        """
        step = _STEP[self.precision] * clip_seconds
        return max(0, int((seconds - _START) / step))


def processor_name() -> str:
    """What the processor calls itself, and how many cores there are for this process.

    Example:
        >>> processor_name()  # doctest: +SKIP
        'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, AVX512, 2 cores'
    """
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")  # Linux
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    # What torch uses of it, which `ATEN_CPU_CAPABILITY` can lower.
    units = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {units}, {os.cpu_count()} cores"
