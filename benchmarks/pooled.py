"""Several seeds of one channel as one comparison: their questions side by side.

Every clip of every world is a draw of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controls import ARMS
from results_answers import Kept, main_arms

from pave.data import Record
from pave.evaluate.report import Report
from pave.evaluate.scores import Asked, TaskScores, score_arms
from pave.tasks import EXACT, Item, get_task
from pave.tasks.items import items_of
from pave_world.demo.config import DemoConfig

RESAMPLES = 10_000
_OF_A_SEED = 100  # of a single seed, no interval is shown


@dataclass(frozen=True)
class Channel:
    """One channel over several seeds.

    Attributes:
        config: The settings of the first run; the others differ in the seed and in the precision.
        runs: Seed -> the report of the run alone.
        trainings: Seed -> on what it was trained.
        whole: The report over all of them.
        controls: The same of the control arms.
    """

    config: DemoConfig
    runs: Mapping[int, Report]
    trainings: Mapping[int, Mapping[str, Any]]
    whole: Report
    controls: Report

    @property
    def arms(self) -> tuple[str, str, str]:
        """Base, control and patch."""
        return main_arms(self.config)


def pooled(kept: Sequence[Kept]) -> Channel:
    """Pool the answers of the runs of one channel.

    The bootstrap draws clips of all worlds together, so the intervals hold for new clips and these
    trainings; how much trainings differ is seen from the seeds' own differences.
    """
    arms = main_arms(kept[0].config)
    runs = {}
    trainings = {}
    for run in kept:
        seed = run.config.seed
        runs[seed] = _report([run], arms, resamples=_OF_A_SEED)
        trainings[seed] = run.training
    whole = _report(kept, arms, resamples=RESAMPLES)
    controls = _report(kept, ARMS, resamples=RESAMPLES)
    return Channel(kept[0].config, runs, trainings, whole, controls)


def _report(kept: Sequence[Kept], arms: Sequence[str], *, resamples: int) -> Report:
    """One report over the answers of several runs; its seconds are those of the first."""
    config = kept[0].config
    said: dict[str, list[Said]] = {arm: [] for arm in arms}
    for run in kept:
        records = run.records()
        for arm in arms:
            said[arm].append(Said(run.config.seed, records, run.said(arm)))
    values = {
        **kept[0].costs,
        "task": scores_of(said, resamples=resamples),
        "clips": sum(run.costs["clips"] for run in kept),
        "peak_rss_mb": max(run.costs["peak_rss_mb"] for run in kept),
        "command": f"pave demo --channel {config.channel} --seed {config.seed}",
    }
    return Report.model_validate(values)


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


def scores_of(said: Mapping[str, Sequence[Said]], *, resamples: int) -> TaskScores:
    """The scores of arms over the held-out clips of several worlds.

    Args:
        said: Arm -> its answers, world by world.
        resamples: Of the intervals.
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
    scores, _ = score_arms(task, items, asked, resamples=resamples, seed=0)
    return scores
