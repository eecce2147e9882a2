"""What a run trains on: the records as they are, and the cells that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pave.data import Record, group_by_clip
from pave.train.batches import Mixture, Plan, Schedule
from pave.train.cells import make_cells
from pave.train.config import TrainConfig


@dataclass(frozen=True)
class Lessons:
    """All sequences that a run may draw from.

    Attributes:
        clips: The records by clip.
        cells: Cells by picture and channel; they need no tokens that the clips do not have.
        plan: Which questions are trained when; it numbers the cells on from the clips.
        wrong: Id of a cell -> the answer that the right one is to win against.
    """

    clips: list[list[Record]]
    plan: Schedule
    cells: list[list[Record]] = field(default_factory=list)
    wrong: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> list[list[Record]]:
        """Clips and cells, as the plan numbers them."""
        return self.clips + self.cells


def lessons_of(config: TrainConfig, records: Sequence[Record]) -> Lessons:
    """What a run with these settings trains on.

    Raises:
        RecordError: If cells are asked for, and no two clips make any.
    """
    clips = group_by_clip(records)
    plan = _plan(clips, config)
    settings = config.counterfactual
    if settings is None or config.channel is None:
        return Lessons(clips, plan)
    # Drawn once: a resumed run must find the same cells under the same numbers.
    made = make_cells(records, config.channel, config.task, seed=config.seed)
    cells = group_by_clip(made.records)
    mixture = Mixture(plan, _plan(cells, config), settings.share)
    if settings.loss == "ce":  # cells are learnt as any record is
        return Lessons(clips, mixture, cells)
    return Lessons(clips, mixture, cells, made.wrong)


def _plan(groups: Sequence[Sequence[Record]], config: TrainConfig) -> Plan:
    sizes = [len(group) for group in groups]
    return Plan(sizes, config.questions_per_video, config.seed)
