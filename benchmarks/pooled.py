"""Several seeds of one channel as one comparison: their questions side by side.

Every clip of every world is a draw of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controls import ARMS, are_asked

from pave.data import Record, read_records
from pave.evaluate.arm_files import read_rows
from pave.evaluate.report import Report
from pave.evaluate.scores import Asked, TaskScores, score_arms
from pave.tasks import EXACT, Item, get_task
from pave.tasks.items import items_of
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST
from pave_world.films.make import RECORDS

RESAMPLES = 10_000


@dataclass(frozen=True)
class Channel:
    """One channel over several seeds.

    Attributes:
        config: The settings of the first run; the others differ in the seed.
        runs: Seed -> the run's own report.
        whole: The report over all of them.
        controls: The same of the control arms; None unless all runs have them.
    """

    config: DemoConfig
    runs: Mapping[int, Report]
    whole: Report
    controls: Report | None = None

    @property
    def arms(self) -> tuple[str, str, str]:
        """Base, control and patch."""
        base, control, patch = self.whole.arm_names()
        return base, control, patch


def pooled(finished: Sequence[tuple[DemoConfig, Report]]) -> Channel:
    """Pool the answers of the runs of one channel.

    The bootstrap draws clips of all worlds together, so the intervals hold for new clips and these
    trainings; how much trainings differ is seen from the seeds' own differences.
    """
    arms = finished[0][1].arm_names()
    whole = _pooled(finished, "eval", arms)
    controls = None
    if all(are_asked(config) for config, _ in finished):
        controls = _pooled(finished, "controls", ARMS)
    runs = {config.seed: run for config, run in finished}
    return Channel(finished[0][0], runs, whole, controls)


def _pooled(
    finished: Sequence[tuple[DemoConfig, Report]], folder: str, arms: Sequence[str]
) -> Report:
    """One report over the answers that all runs have in a folder of theirs."""
    said = {}
    for arm in arms:
        said[arm] = [
            said_in(config, config.out / folder / f"{arm}.jsonl") for config, _ in finished
        ]
    reports = [run for _, run in finished]
    update = {
        "task": scores_of(said),
        "clips": sum(run.clips for run in reports),
        "peak_rss_mb": max(run.peak_rss_mb for run in reports),
    }
    return reports[0].model_copy(update=update)


@dataclass(frozen=True)
class Said:
    """What an arm answered in one world.

    Attributes:
        seed: Of the world, whose clips are named as those of the others.
        records: What was asked.
        predictions: Record id -> answer.
    """

    seed: int
    records: Sequence[Record]
    predictions: Mapping[str, str]


def scores_of(said: Mapping[str, Sequence[Said]]) -> TaskScores:
    """The scores of arms over the held-out clips of several worlds.

    Args:
        said: Arm -> its answers, world by world.
    """
    task = get_task(EXACT)
    items: dict[str, list[Item]] = {}
    for arm, worlds in said.items():
        own = items.setdefault(arm, [])
        for world in worlds:
            mark = f"{world.seed}:"
            for item in items_of(task, world.records, world.predictions):
                own.append(replace(item, id=mark + item.id, cluster=mark + item.cluster))
    first = next(iter(items.values()))
    asked = Asked(prompt="unknown", split="", records=len(first))
    scores, _ = score_arms(task, items, asked, resamples=RESAMPLES, seed=0)
    return scores


def said_in(config: DemoConfig, file: Path) -> Said:
    """The answers of a file; its name is that of the arm in it."""
    records = read_records(config.world(TEST) / RECORDS, check_media=False)
    rows = read_rows(file, file.stem)
    return Said(config.seed, records, {row.id: row.prediction for row in rows.values()})
