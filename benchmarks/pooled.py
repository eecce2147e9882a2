"""Several seeds of one channel as one comparison: their questions side by side.

Every clip of every world is a draw of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pave.data import read_records
from pave.evaluate.arm_files import read_rows
from pave.evaluate.report import Report
from pave.evaluate.scores import Asked, score_arms
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
    """

    config: DemoConfig
    runs: Mapping[int, Report]
    whole: Report

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
    task = get_task(EXACT)
    first, report = finished[0]
    items: dict[str, list[Item]] = {arm: [] for arm in report.arm_names()}
    for config, _ in finished:
        mark = f"{config.seed}:"
        records = read_records(config.world(TEST) / RECORDS, check_media=False)
        for arm, own in items.items():
            rows = read_rows(config.out / "eval" / f"{arm}.jsonl", arm)
            predictions = {row.id: row.prediction for row in rows.values()}
            for item in items_of(task, records, predictions):
                own.append(replace(item, id=mark + item.id, cluster=mark + item.cluster))
    count = len(items[report.arm_names()[0]])
    asked = Asked(prompt="unknown", split="", records=count)
    scores, _ = score_arms(task, items, asked, resamples=RESAMPLES, seed=0)
    runs = {config.seed: run for config, run in finished}
    whole = report.model_copy(
        update={
            "task": scores,
            "clips": sum(run.clips for run in runs.values()),
            "peak_rss_mb": max(run.peak_rss_mb for run in runs.values()),
        }
    )
    return Channel(first, runs, whole)
