"""`Evaluation`: an evaluation that has been loaded and checked, and what each arm of it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pave.data import Record
from pave.evaluate.arms import ArmSpec
from pave.evaluate.config import EvalConfig
from pave.evaluate.machine import Stopwatch
from pave.model import PatchedModel
from pave.tasks import Task

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that has been loaded and checked.

    Attributes:
        config: Its settings.
        model: The base with every arm's patches on it.
        records: All records of the file.
        asked: Those that are asked about, clip by clip.
        task: What scores them.
        max_new_tokens: Longest answer.
        arms: Arm -> what it is.
        patches: Arm -> names of its patches in the model.
        watch: Seconds of the stages.
        progress: Called with (stage, done, total): stage is "read" or an arm's name.
    """

    config: EvalConfig
    model: PatchedModel
    records: Sequence[Record]
    asked: Sequence[Record]
    task: Task
    max_new_tokens: int
    arms: Mapping[str, ArmSpec]
    patches: Mapping[str, Sequence[str]]
    watch: Stopwatch
    progress: Progress | None


@dataclass(frozen=True)
class ArmFacts:
    """What a report says of an arm beside its scores.

    Attributes:
        prompt_tokens: Mean tokens of a prompt; None for what reads no prompt.
        notes: What was left out or replaced.
    """

    prompt_tokens: float | None
    notes: Sequence[str]


class AtWork(Protocol):
    """An arm that is ready to answer: its patches are on, and every other arm's are off."""

    @property
    def notes(self) -> Sequence[str]:
        """What was left out or replaced, a line each, for the report."""
        ...

    def batches(self) -> list[list[Record]]:
        """All questions in batches that depend on nothing but the questions and their clips."""
        ...

    def answer(self, batch: Sequence[Record]) -> dict[str, str]:
        """Record id -> what the arm says."""
        ...

    def prompt_tokens(self) -> float | None:
        """Mean tokens of a prompt, visual ones included; None for what reads no prompt."""
        ...
