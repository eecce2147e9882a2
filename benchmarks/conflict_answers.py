"""What every arm of `make conflict` said, world by world: kept in `benchmarks/measured/conflict`.

A world is two tables. `questions` holds the held-out questions as they are, and what an arm and its
control answered. `cells` holds the pictures with exchanged sounds: answers and margins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from answers import (
    MEASURED,
    Answers,
    answers_file,
    check_settings,
    read_answers,
    write_answers,
)
from asked import add_questions, predictions_of, questions_of
from conflict_arms import Arm
from runs import present_settings, training_of, world_settings

from pave.data import Record, read_records
from pave.evaluate.arm_files import ArmRow, Key
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST
from pave_world.films.make import RECORDS

MEASUREMENT = "conflict"
_QUESTIONS, _CELLS = "questions", "cells"


@dataclass
class Kept:
    """The answers about one world.

    Attributes:
        seed: Of the world.
        questions: See the module.
        cells: See the module.
    """

    seed: int
    questions: Answers = field(default_factory=Answers)
    cells: Answers = field(default_factory=Answers)

    @property
    def settings(self) -> dict[str, Any]:
        """Of the world and of the trainings."""
        found: dict[str, Any] = self.questions.about["settings"]
        return found

    def training(self, arm: Arm) -> dict[str, Any]:
        """How an arm was trained: see `runs.training_of`."""
        found: dict[str, Any] = self.questions.about["trainings"][arm.name]
        return found

    def is_asked(self, arm: Arm) -> bool:
        """Whether an arm and its control were asked the questions as they are."""
        return all(self.said(name) for name in (arm.name, control_of(arm)))

    def is_exchanged(self, arm: Arm) -> bool:
        """Whether an arm was asked with exchanged sounds."""
        return bool(self.cells.column(arm.name))

    def said(self, name: str) -> dict[str, str]:
        """Id of a question -> what an arm, or a control, answered."""
        return self.questions.column(name)

    def records(self) -> list[Record]:
        """The held-out questions in their order, without files."""
        return questions_of(self.questions, self.settings["channel"])

    def in_cells(self, arm: Arm) -> tuple[dict[Key, ArmRow], dict[str, float]]:
        """What an arm made of the cells: answers as an evaluation writes them, and margins."""
        rows = {}
        for name, said in self.cells.column(arm.name).items():
            # The pair knows family, question and answer.
            rows["arm", name] = ArmRow(name, "arm", "", "", "", said, None)
        return rows, self.cells.column(_margin(arm))


def control_of(arm: Arm) -> str:
    """The name under which an arm's control is asked."""
    return f"{arm.name}-{arm.control}"


def read_kept(seeds: Iterable[int], root: Path = MEASURED) -> list[Kept]:
    """The worlds of which anything is kept."""
    found = []
    for seed in seeds:
        kept = _read(seed, root)
        if kept.questions.rows:
            found.append(kept)
    return found


def is_kept(
    world: DemoConfig, arm: Arm, *, as_it_is: bool, controlled: bool, exchanged: bool
) -> bool:
    """Whether all that an arm is to be asked is there.

    Args:
        world: Its world.
        arm: The arm.
        as_it_is: Whether it is asked the questions as they are.
        controlled: Whether its control is.
        exchanged: Whether it is asked with exchanged sounds.

    Raises:
        SystemExit: If what is there is of a world with other settings.
    """
    kept = _read(world.seed, MEASURED)
    if not kept.questions.rows:
        return False
    _check(kept, world)
    if as_it_is and not kept.said(arm.name):
        return False
    if controlled and not kept.said(control_of(arm)):
        return False
    return not exchanged or kept.is_exchanged(arm)


def keep(world: DemoConfig, arm: Arm, root: Path = MEASURED) -> None:
    """Put what an arm was asked in a world beside what is kept.

    Raises:
        SystemExit: If that is of a world with other settings.
    """
    kept = _read(world.seed, root)
    about = kept.questions.about
    if about:
        _check(kept, world)
    about["settings"] = world_settings(world)
    about.setdefault("trainings", {})[arm.name] = training_of(arm.settings(world))
    add_questions(kept.questions, read_records(world.world(TEST) / RECORDS, check_media=False))
    for name in (arm.name, control_of(arm)):
        kept.questions.add(name, predictions_of(world.out / "eval" / name / "arm.jsonl"))
    swap = world.out / "swap" / arm.name
    kept.cells.add(arm.name, predictions_of(swap / "arm.jsonl"))
    kept.cells.add(_margin(arm), _margins(swap / "margins" / "arm.json"))
    for part, table in ((_QUESTIONS, kept.questions), (_CELLS, kept.cells)):
        write_answers(answers_file(MEASUREMENT, world.seed, part, root), table)


def _check(kept: Kept, world: DemoConfig) -> None:
    file = answers_file(MEASUREMENT, kept.seed, _QUESTIONS)
    check_settings(file, present_settings(kept.settings), world_settings(world))


def _read(seed: int, root: Path) -> Kept:
    files = [answers_file(MEASUREMENT, seed, part, root) for part in (_QUESTIONS, _CELLS)]
    questions, cells = (read_answers(file) for file in files)
    return Kept(seed, questions, cells)


def _margins(file: Path) -> dict[str, float]:
    """Id of a cell -> margin; empty without the file."""
    if not file.is_file():
        return {}
    found: dict[str, float] = json.loads(file.read_text("utf-8"))
    return {name: round(margin, 4) for name, margin in found.items()}


def _margin(arm: Arm) -> str:
    return f"{arm.name}/margin"
