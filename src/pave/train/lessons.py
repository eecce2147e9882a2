"""What a run trains on: the records as they are, and the cells that are made of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pave.data import Record, Records, group_by_clip, open_records
from pave.data.views import Joined
from pave.errors import ConfigError, RecordError
from pave.train.cells import make_cells
from pave.train.config import TrainConfig
from pave.train.held_out import Exam
from pave.train.plans import JointPlan, Mixture, Plan, Schedule

log = logging.getLogger(__name__)

Files = Mapping[str, Sequence[Record]]
"""Records by the name of their file; a single file has an empty one."""


@dataclass(frozen=True)
class Lessons:
    """All sequences that a run may draw from.

    Attributes:
        clips: The records by clip.
        plan: Which questions are trained when, by the numbers of groups.
        groups: Clips, and cells by picture and channel, as the plan numbers them. Cells need no
            tokens that the clips do not have.
        wrong: Id of a cell -> the answer that the right one is to win against.
        cells: How many cells there are.
        shares: Name of a file -> its share of the batches, where there are several.
        exam: What the patch is asked while it trains; None for a run without validation.
        to_align: A record of each clip from which an aligned start learns without its questions.
    """

    clips: Sequence[Sequence[Record]]
    plan: Schedule
    groups: Sequence[Sequence[Record]]
    wrong: Mapping[str, str] = field(default_factory=dict)
    cells: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    exam: Exam | None = None
    to_align: Sequence[Record] = ()


def read_files(config: TrainConfig) -> dict[str, Records]:
    """The records of a run, file by file.

    Of several files, ids begin with the name of the file, and clips lose the channels that the file
    is not used with.

    Raises:
        RecordError: If a file cannot be read, or none of its records has a channel that it is to be
            used with.
    """
    found: dict[str, Records] = {}
    for name, file in config.files.items():
        records = open_records(file.records)
        if config.mixture is None:
            return {name: records}
        for channel in file.channels or ():
            if not any(channel in record.channels for record in records):
                raise RecordError(
                    f"mixture.files.{name}: no record of {file.records} names the channel {channel}"
                )
        found[name] = Records()
        for number, record in enumerate(records):
            found[name].add(_of_file(record, name, file.channels), records.place(number))
        found[name].close()
    return found


def read_clips(config: TrainConfig) -> list[Record]:
    """A record of each clip that `align_clips` names; none where it is not set.

    Raises:
        RecordError: If the file cannot be read.
    """
    if config.align_clips is None:
        return []
    return [members[0] for members in group_by_clip(open_records(config.align_clips))]


def _of_file(record: Record, name: str, channels: Sequence[str] | None) -> Record:
    """A record as a part of a mixture."""
    kept = dict(record.channels)
    if channels is not None:
        for channel in record.channels.keys() - set(channels):
            del kept[channel]
    # Two files may use the same ids.
    return record.model_copy(update={"id": f"{name}/{record.id}", "channels": kept})


def lessons_of(config: TrainConfig, files: Files) -> Lessons:
    """What a run with these settings trains on.

    Args:
        config: The settings.
        files: See `read_files`.

    Raises:
        RecordError: If cells are asked for, and no two clips make any.
        ConfigError: If they are asked for of a file with several channels.
    """
    if config.mixture is None:
        ((name, records),) = files.items()
        return _lessons_of(config, name, records)
    sizes = {name: len(records) for name, records in files.items()}
    shares = config.mixture.shares(sizes)
    plans: list[Schedule] = []
    counts: list[int] = []  # groups of each file
    clips: Sequence[Sequence[Record]] = ()
    groups: Sequence[Sequence[Record]] = ()
    wrong: dict[str, str] = {}
    cells = 0
    for name, records in files.items():
        part = _lessons_of(config, name, records)
        plans.append(part.plan)
        counts.append(len(part.groups))
        clips = Joined(clips, part.clips)
        groups = Joined(groups, part.groups)
        wrong |= part.wrong  # ids begin with the file's name, so none is there twice
        cells += part.cells
        log.info(
            "%s: %d questions about %d clips, in %.1f %% of the batches",
            name,
            sizes[name],
            len(part.clips),
            100 * shares[name],
        )
    drawn = list(shares.values())  # in the order of the files
    plan = JointPlan(plans, counts, drawn, batch=config.batch_clips, seed=config.seed)
    return Lessons(clips, plan, groups, wrong, cells, shares)


def _lessons_of(config: TrainConfig, name: str, records: Sequence[Record]) -> Lessons:
    """What one file is good for."""
    clips = group_by_clip(records)
    plan = _plan(clips, config)
    settings = config.counterfactual
    if settings is None:
        return Lessons(clips, plan, clips)
    # Drawn once: a resumed run must find the same cells under the same numbers.
    channel = _exchanged(config, name, records)
    made = make_cells(records, channel, config.task, seed=config.seed)
    cells = group_by_clip(made.records)
    mixture = Mixture(plan, _plan(cells, config), settings.share)
    wrong: Mapping[str, str] = made.wrong
    if settings.loss == "ce":  # cells are learnt as any record is
        wrong = {}
    return Lessons(clips, mixture, Joined(clips, cells), wrong, len(made.records))


def _exchanged(config: TrainConfig, name: str, records: Sequence[Record]) -> str:
    """The channel that the cells of a file exchange."""
    given: set[str] = set()
    for record in records:
        given.update(record.channels)
    named = [channel for channel in config.parts if channel in given]
    if len(named) > 1:
        # A question that does not say what it asks for would be taken to ask for each of them.
        raise ConfigError(
            f"counterfactual exchanges one channel, but the records name {', '.join(named)}; "
            "train on a mixture whose files are used with one channel each"
        )
    if not named:
        raise ConfigError(
            f"counterfactual: no record of {name or 'the file'} names a channel of the patch "
            f"({', '.join(config.parts)})"
        )
    return named[0]


def _plan(groups: Sequence[Sequence[Record]], config: TrainConfig) -> Plan:
    sizes = [len(group) for group in groups]
    return Plan(sizes, config.questions_per_video, config.seed)
