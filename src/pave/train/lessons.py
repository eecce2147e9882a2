"""What a run trains on: the records as they are, and the cells that are made of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pave.data import Record, Records, group_by_clip, open_records
from pave.data.views import Joined
from pave.errors import ConfigError, RecordError
from pave.train.cells import Cells, make_cells
from pave.train.config import TrainConfig
from pave.train.gated import gate_clips
from pave.train.held_out import Exam
from pave.train.mixture import RecordFile
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
        for_gate: Numbers of the groups from which question gates alone learn.
        exam: What the patch is asked while it trains; None for a run without validation.
        to_align: A record of each clip from which an aligned start learns without its questions.
    """

    clips: Sequence[Sequence[Record]]
    plan: Schedule
    groups: Sequence[Sequence[Record]]
    wrong: Mapping[str, str] = field(default_factory=dict)
    cells: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    for_gate: frozenset[int] = frozenset()
    exam: Exam | None = None
    to_align: Sequence[Record] = ()


def read_files(config: TrainConfig) -> dict[str, Records]:
    """The records of a run, file by file.

    Of several files, ids begin with the name of the file, clips lose the channels that the file is
    not used with, and questions of other families are left out.

    Raises:
        RecordError: If a file cannot be read, or none of its records has a channel or is of a
            family that it is to be used with.
    """
    found: dict[str, Records] = {}
    for name, file in config.files.items():
        records = open_records(file.records)
        if config.mixture is None:
            return {name: records}
        _check_file(name, file, records)
        found[name] = Records()
        for number, record in enumerate(records):
            if file.families is None or record.meta.get("family") in file.families:
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


def _check_file(name: str, file: RecordFile, records: Records) -> None:
    """Refuse channels that no record of a file has, and say which families none is of.

    Raises:
        RecordError: If there is such a channel, or nothing is of any of the families.
    """
    for channel in file.channels or ():
        if not any(channel in record.channels for record in records):
            raise RecordError(
                f"mixture.files.{name}: no record of {file.records} names the channel {channel}"
            )
    wanted = file.families or ()
    absent = list(wanted)
    for record in records:
        family = record.meta.get("family")
        if family in absent:
            absent.remove(family)
    if not absent:
        return
    said = (
        f"mixture.files.{name}: no record of {file.records} is of the family "
        f"{' or '.join(absent)} (meta.family)"
    )
    if len(absent) == len(wanted):
        raise RecordError(said)
    log.warning("%s", said)


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
        RecordError: If cells are asked for, and no two clips make any; or a question gate, and no
            two clips have its channel.
        ConfigError: If they are asked for of a file with several channels.
    """
    clips = {name: group_by_clip(records) for name, records in files.items()}
    for_gate = _for_gate(config, clips)
    if config.mixture is None:
        ((name, records),) = files.items()
        return _lessons_of(config, name, records, clips[name], for_gate[name])
    sizes = {name: len(records) for name, records in files.items()}
    shares = config.mixture.shares(sizes)
    parts = []
    for name, records in files.items():
        part = _lessons_of(config, name, records, clips[name], for_gate[name])
        log.info(
            "%s: %d questions about %d clips, in %.1f %% of the batches",
            name,
            sizes[name],
            len(part.clips),
            100 * shares[name],
        )
        parts.append(part)
    return _joined(config, parts, shares)


def _joined(
    config: TrainConfig,
    parts: Sequence[Lessons],
    shares: Mapping[str, float],
) -> Lessons:
    """What several files are good for, each in its share of the batches."""
    plans: list[Schedule] = []
    counts: list[int] = []  # groups of each file
    clips: Sequence[Sequence[Record]] = ()
    groups: Sequence[Sequence[Record]] = ()
    wrong: dict[str, str] = {}
    for_gate: set[int] = set()
    cells = 0
    for part in parts:
        plans.append(part.plan)
        counts.append(len(part.groups))
        first = len(groups)  # number of the part's first group among all
        for number in part.for_gate:
            for_gate.add(first + number)
        clips = Joined(clips, part.clips)
        groups = Joined(groups, part.groups)
        wrong |= part.wrong  # ids begin with the file's name, so none is there twice
        cells += part.cells
    drawn = list(shares.values())  # in the order of the files
    plan = JointPlan(plans, counts, drawn, batch=config.batch_clips, seed=config.seed)
    return Lessons(
        clips=clips,
        plan=plan,
        groups=groups,
        wrong=wrong,
        cells=cells,
        shares=shares,
        for_gate=frozenset(for_gate),
    )


def _for_gate(
    config: TrainConfig, clips: Mapping[str, Sequence[Sequence[Record]]]
) -> dict[str, frozenset[int]]:
    """Of each file, the numbers of the clips from which question gates alone learn."""
    if not config.gated:
        return dict.fromkeys(clips, frozenset())
    everything: Sequence[Sequence[Record]] = ()
    for groups in clips.values():
        everything = Joined(everything, groups)
    # Another file, or a cell, may show a picture once more.
    whole_videos = config.mixture is not None or config.counterfactual is not None
    drawn = gate_clips(
        everything, config.gated, config.gate_share, config.seed, whole_videos=whole_videos
    )
    found = {}
    first = 0
    for name, groups in clips.items():
        end = first + len(groups)
        own: set[int] = set()
        for number in drawn:
            if first <= number < end:
                own.add(number - first)
        found[name] = frozenset(own)
        first = end
    return found


def _lessons_of(
    config: TrainConfig,
    name: str,
    records: Sequence[Record],
    clips: Sequence[Sequence[Record]],
    for_gate: frozenset[int],
) -> Lessons:
    """What one file is good for."""
    plan = _plan(clips, config)
    settings = config.counterfactual
    if settings is None:
        return Lessons(clips, plan, clips, for_gate=for_gate)
    # Drawn once: a resumed run must find the same cells under the same numbers.
    channel = _exchanged(config, name, records)
    if for_gate:
        # No cell is of a clip for the gate and one for the rest.
        records = _members(clips, set(range(len(clips))) - for_gate)
    made = make_cells(records, channel, config.task, seed=config.seed)
    for_gate_alone = _cells_for_gate(config, channel, _members(clips, for_gate))
    cells = group_by_clip([*made.records, *for_gate_alone.records])
    wrong = {**made.wrong, **for_gate_alone.wrong}
    numbers = set(for_gate)
    # Behind the clips, as the plan numbers them.
    for number, group in enumerate(cells, len(clips)):
        if group[0].id in for_gate_alone.wrong:
            numbers.add(number)
    mixture = Mixture(plan, _plan(cells, config), settings.share)
    count = len(wrong)
    if settings.loss == "ce":  # cells are learnt as any record is
        wrong = {}
    groups = Joined(clips, cells)
    return Lessons(clips, mixture, groups, wrong, count, for_gate=frozenset(numbers))


def _members(clips: Sequence[Sequence[Record]], numbers: Collection[int]) -> list[Record]:
    """The records of some clips, in order."""
    found: list[Record] = []
    for number in sorted(numbers):
        found += clips[number]
    return found


def _cells_for_gate(config: TrainConfig, channel: str, records: Sequence[Record]) -> Cells:
    """The cells from which question gates alone learn: of clips from which they alone learn.

    A cell of one such clip and another one would show fusion and LoRA what is kept from them.
    """
    if not records:
        return Cells([], {})
    try:
        return make_cells(records, channel, config.task, seed=config.seed)
    except RecordError as error:
        log.info("the question gate learns from no cells: %s", error)
        return Cells([], {})


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
