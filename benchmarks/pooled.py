"""Several seeds of one channel as one comparison: their questions side by side, every clip of every world a draw of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pave.data import read_records
from pave.evaluate.answers import read_answers
from pave.evaluate.items import Answer, Item, items_of
from pave.evaluate.report import Report
from pave.evaluate.table import arm_rows, paired_rows
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
    items: list[Item] = []
    answers: dict[tuple[str, str], Answer] = {}
    first, report = finished[0]
    arms = report.arm_names()
    for config, _ in finished:
        mark = f"{config.seed}:"
        for item in items_of(read_records(config.world(TEST) / RECORDS, check_media=False)):
            items.append(replace(item, id=mark + item.id, clip=mark + item.clip))
        for arm in arms:
            for answer in read_answers(config.out / "eval" / f"{arm}.jsonl").values():
                answers[arm, mark + answer.id] = answer
    runs = {config.seed: run for config, run in finished}
    whole = report.model_copy(
        update={
            "arms": arm_rows(items, arms, answers),
            "paired": paired_rows(items, arms, answers, resamples=RESAMPLES, seed=0),
            "clips": sum(run.clips for run in runs.values()),
            "peak_rss_mb": max(run.peak_rss_mb for run in runs.values()),
        }
    )
    return Channel(first, runs, whole)
