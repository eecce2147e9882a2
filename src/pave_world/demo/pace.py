"""The time of the short demo: what its stages cost, and what fits into the time that is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, Field

# Seconds after set-up that are promised are 300 and, with bf16 units, 180; the rest is the start of
# Python and a margin.
BUDGET = {"fp32": 280.0, "bf16": 165.0}
# Of the time that is left once the held-out clips are encoded, the most that asking may take.
_SHARE = 0.5
# The speed of a machine is measured as it works, but two figures are needed before there is a
# measurement of the work itself: how many clips to ask about, before anything has been asked, and
# how many steps to train, before the first one. (The answers about the concert come too early to
# tell: what they take is mostly the first use of every layer.) They are estimated from the stage
# before, by ratios of wall seconds, which depend less on the machine than seconds do. They were
# measured on two cores of a Xeon, with its bf16 units and with AVX2 alone (emulated); the run on an
# idle AMD EPYC in docs/performance.md has 2.1 and, in bf16, 3.5. Where they are wrong, the timer of
# the training has the last word (`pave_world.demo.here.train_here`).
_ASK = 2.6  # an arm's answers about a clip, over making and encoding that clip
# A step on two clips, forward and backward, over an arm's answers about one clip in fp32.
_STEP = {"fp32": 4.2, "bf16": 3.0}
_START = 10.0  # seconds of a training before its first step (the aligned start) and after its last


class Cost(BaseModel):
    """What a stage cost.

    A busy machine adds wall seconds; the seconds of the processor stay nearly the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str = Field(description="The stage.")
    wall: float = Field(description="Wall seconds.")
    cpu: float = Field(description="CPU seconds of all processes that have ended.")


class Pace:
    """A clock that runs against a budget.

    Args:
        budget: Wall seconds; None for that of the precision.
        precision: What trainings run in here, "fp32" or "bf16".
        say: Gets a line at the start of each stage.

    Attributes:
        costs: What the stages so far have cost, in their order.
    """

    def __init__(self, budget: float | None, precision: str, say: Callable[[str], None]) -> None:
        self.budget = budget or BUDGET[precision]
        self.precision = precision
        self.say = say
        self.costs: list[Cost] = []
        self._started = time.monotonic()  # a clock that no one sets back

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; below zero when it is spent."""
        return self.budget - self.seconds

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Say that a stage begins, and how much time is left; write down what it costs.

        Args:
            name: What the table of costs calls it.
            what: What is done, for the line.
        """
        self.say(f"[{self.seconds:3.0f} s, {max(0.0, self.left):3.0f} s left] {what} ...")
        began = self.seconds
        cpu_began = _cpu_seconds()
        try:
            yield
        finally:
            wall = self.seconds - began
            cpu = _cpu_seconds() - cpu_began
            cost = Cost(stage=name, wall=round(wall, 1), cpu=round(cpu, 1))
            self.costs.append(cost)

    def clips(self, most: int, fewest: int, arms: int, clip_seconds: float) -> int:
        """Held-out clips that some arms can be asked about in their share of the time.

        Args:
            most: Clips that there are.
            fewest: Clips below which an interval says nothing.
            arms: Arms that are asked, the new patch among them.
            clip_seconds: What making and encoding a clip was measured to take.
        """
        arm_clip = _ASK * clip_seconds
        fit = int(_SHARE * self.left / (arms * arm_clip))
        return min(most, max(fewest, fit))

    def steps(self, seconds: float, ask_seconds: float, encode_seconds: float, most: int) -> int:
        """Steps that fit into some seconds, with the clips that they need.

        Args:
            seconds: What there is, all that surrounds the steps included.
            ask_seconds: What an arm was measured to take for the questions about a clip.
            encode_seconds: What making and encoding a clip was measured to take.
            most: Steps that are enough.
        """
        step = _STEP[self.precision] * ask_seconds
        for steps in range(most, 0, -1):
            clips = train_clips(steps)
            needed = _START + steps * step + clips * encode_seconds
            if needed <= seconds:
                return steps
        return 0


def train_clips(steps: int) -> int:
    """Clips to make for so many steps of two clips each.

    Example:
        >>> train_clips(30), train_clips(45), train_clips(300)
        (60, 90, 120)
    """
    return min(120, max(60, 2 * steps))


def _cpu_seconds() -> float:
    """Of this process and of all that it started and that have ended."""
    spent = os.times()
    own = spent.user + spent.system
    children = spent.children_user + spent.children_system
    return own + children
