"""What every arm of `make results` said, run by run: kept in `benchmarks/measured/results`.

A run is one table, `<channel>/seed-<n>/questions.json`: the held-out questions, what base,
LoRA-only, patch, and the control arms answered, what the run cost, and on what it was trained.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answers import MEASURED, Answers, answers_file, check_settings, read_answers, write_answers
from asked import add_questions, predictions_of, questions_of
from controls import ARMS, are_asked, folder_of
from runs import present_settings, world_settings

from pave.data import Record, read_records
from pave.evaluate.report import Report
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST
from pave_world.demo.run import BASE
from pave_world.demo.training import CONTROL
from pave_world.films.make import RECORDS

MEASUREMENT = "results"
_COSTS = {"clips", "seconds", "peak_rss_mb", "trainable_parameters", "seeds", "versions"}
"""Of a run's report, what its answers do not tell."""


@dataclass(frozen=True)
class Kept:
    """The answers of one run.

    Attributes:
        answers: See the module.
    """

    answers: Answers

    @property
    def config(self) -> DemoConfig:
        """All settings; the folder is not the one in which it was made."""
        about = self.answers.about
        return DemoConfig.model_validate(
            {**about["settings"], "precision": about["training"]["precision"]}
        )

    @property
    def training(self) -> dict[str, Any]:
        """On what it was trained, see `runs.how_trained`; also `processor` and `cores`."""
        found: dict[str, Any] = self.answers.about["training"]
        return found

    @property
    def costs(self) -> dict[str, Any]:
        """What the report of the run says besides scores."""
        found: dict[str, Any] = self.answers.about["costs"]
        return found

    def records(self) -> list[Record]:
        """The held-out questions in their order, without files."""
        return questions_of(self.answers, self.answers.about["settings"]["channel"])

    def said(self, arm: str) -> dict[str, str]:
        """Id of a question -> what an arm answered."""
        return self.answers.column(arm)


def main_arms(config: DemoConfig) -> tuple[str, str, str]:
    """Base, LoRA-only and patch."""
    return BASE, CONTROL, config.patch_arm


def read_kept(config: DemoConfig) -> Kept:
    """The answers of a run; a table without rows if there are none."""
    return Kept(read_answers(file_of(config)))


def file_of(config: DemoConfig) -> Path:
    """Where the answers of a run are kept."""
    measurement = f"{MEASUREMENT}/{config.channel}"
    return answers_file(measurement, config.seed, "questions", MEASURED)


def refuse_other_settings(config: DemoConfig) -> None:
    """Nothing, unless a run is kept that was made differently.

    Raises:
        SystemExit: If it was.
    """
    kept = read_kept(config)
    if kept.answers.rows:
        known = present_settings(kept.answers.about["settings"])
        check_settings(file_of(config), known, world_settings(config))


def missing(config: DemoConfig) -> str:
    """Why a run cannot be in a table yet, in words; empty for one that is kept as a whole."""
    kept = read_kept(config)
    if not kept.answers.rows:
        return "is not kept"
    if present_settings(kept.answers.about["settings"]) != world_settings(config):
        return "has other settings"
    absent = [arm for arm in (*main_arms(config), *ARMS) if not kept.said(arm)]
    if absent:
        return f"lacks {', '.join(absent)}"
    return ""


def keep(config: DemoConfig, report: Report) -> None:
    """Write down what the arms of a finished run said; control arms once they are asked.

    What is kept of another run with the same settings is replaced as a whole.

    Args:
        config: The settings of the run.
        report: Its own report.

    Raises:
        SystemExit: If a run with other settings is kept.
    """
    refuse_other_settings(config)
    training = {
        "precision": config.precision,
        "architecture": platform.machine(),
        "torch": report.versions["torch"],
        "processor": report.versions.get("processor", ""),
        "cores": os.cpu_count() or 1,
    }
    about = {
        "settings": world_settings(config),
        "training": training,
        "costs": report.model_dump(mode="json", include=_COSTS),
    }
    table = Answers(about)
    add_questions(table, read_records(config.world(TEST) / RECORDS, check_media=False))
    for file in _files(config):
        table.add(file.stem, predictions_of(file))
    write_answers(file_of(config), table)


def _files(config: DemoConfig) -> Iterator[Path]:
    """The answers of all arms that are asked."""
    for arm in main_arms(config):
        yield config.out / "eval" / f"{arm}.jsonl"
    if are_asked(config):
        for arm in ARMS:
            yield folder_of(config) / f"{arm}.jsonl"
