"""`evaluate_swap`: does an arm follow the channel, or the picture, where the two disagree?

A good score says that a patch answers questions about sound. Whether it answers them from the sound
shows only where the picture suggests another answer. Clips that are asked the same and answer
differently exchange their channel (`pave.tasks.grids`), and every arm answers all four cells,
through the same code as any evaluation. Beside the answers stand the log-probabilities of the two
clips' answers in each cell, which show a preference also where the greedy answer does not change.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from itertools import chain
from pathlib import Path

from pave.answer import questions_about
from pave.answer.batches import open_turns
from pave.answer.weighing import log_probabilities
from pave.arguments import as_kind
from pave.bases import Base
from pave.data import Record, group_by_clip, read_records
from pave.errors import ConfigError
from pave.evaluate.arm_files import ArmRow, Key, all_rows
from pave.evaluate.asking import ask_arm, ask_part, read_clips
from pave.evaluate.clip_arm import ClipArm
from pave.evaluate.config import EvalConfig
from pave.evaluate.evaluation import Evaluation, Progress
from pave.evaluate.machine import PeakMemory, Stopwatch, versions
from pave.evaluate.run import BUSY, limited, opened
from pave.evaluate.swap_report import (
    Outcome,
    SwapReport,
    outcome,
    rows_of,
    write_swap_report,
)
from pave.files import entries_of, held_alone, write_text_atomically
from pave.metrics import normalise, without_thinking
from pave.tasks.grids import CELLS, Judge, Pair, pair_up
from pave.tasks.items import references_of
from pave.tasks.score import task_for
from pave.texts import read_object

Margins = dict[str, float]
"""Id of a cell -> log-probability of a's answer minus that of b's."""


@dataclass(frozen=True)
class SwapShare:
    """What became of one share of a swap evaluation.

    Attributes:
        answered: Cells that are answered and weighed by now, of all arms and all shares.
        total: Cells that there are.
        report: The report, from the share that came last; None while others are missing.
    """

    answered: int
    total: int
    report: SwapReport | None


@dataclass(frozen=True)
class _Grid:
    """What is to be asked, and how it is judged."""

    pairs: Sequence[Pair]
    cells: Sequence[Record]
    left_out: Mapping[str, list[str]]
    judge: Judge


def evaluate_swap(
    config: EvalConfig, base: Base | None = None, progress: Progress | None = None
) -> SwapReport:
    """Ask every arm about exchanged channels, and write the results into `config.out`.

    These are `<arm>.jsonl` (an answer a cell), `margins/<arm>.json`, `swap.json` and `swap.md`. An
    interrupted evaluation goes on where it stopped, and what shares of the work have left there
    (`evaluate_swap_share`) is used.

    Args:
        config: What to ask whom; `swap` names the channel, and `shard` is left open.
        base: A loaded base, instead of the one that `config.base` names. It is given back
            unpatched.
        progress: Called with (stage, done, total).

    Raises:
        ConfigError: If `config.swap` is not set, or the task does not judge answers one by one.
        RecordError: If no two clips can be paired; the message says why.
        PaveError: As for `evaluate`.

    Example:
        >>> config = EvalConfig(records="test.jsonl", out="out", swap="audio")  # doctest: +SKIP
        >>> evaluate_swap(config).row("base", "audio").scores["gap"].value      # doctest: +SKIP
        -0.12
    """
    as_kind(config, EvalConfig, "the settings of an evaluation are a pave.EvalConfig")
    if config.shard is not None:
        raise ConfigError(
            f"shard={config.shard!r}: use evaluate_swap_share for a part of the work, or leave "
            "shard out"
        )
    watch = Stopwatch()
    grid = _grid(config, watch)
    outcomes = {}
    with held_alone(config.out, ConfigError, BUSY), PeakMemory() as memory:
        with opened(config, base, watch, progress, grid.cells) as run:
            read_clips(run)
            for arm in run.patches:
                outcomes[arm] = _ask(run, arm, grid)
        with watch.stage("statistics"):
            rows = rows_of(grid.pairs, outcomes, resamples=config.resamples, seed=config.seed)
    report = SwapReport(
        channel=str(config.swap),
        rows=rows,
        left_out=dict(grid.left_out),
        seconds=watch.seconds,
        peak_rss_mb=memory.megabytes,
        seeds={"pairs and bootstrap": config.seed},
        versions=versions(),
        command=shlex.join(["pave", *sys.argv[1:]]),
        settings=config.model_dump(mode="json"),
    )
    write_swap_report(report, config.out)
    return report


def evaluate_swap_share(
    config: EvalConfig, base: Base | None = None, progress: Progress | None = None
) -> SwapShare:
    """Ask about one share of the cells, `config.shard`; the share that comes last reports.

    Args:
        config: What to ask whom.
        base: A loaded base, instead of the one that `config.base` names. It is given back
            unpatched.
        progress: Called with (stage, done, total).

    Raises:
        PaveError: As for `evaluate_swap`.

    Example:
        >>> settings = {"records": "test.jsonl", "out": "out", "swap": "audio"}
        >>> evaluate_swap_share(EvalConfig(**settings, shard="1/2")).report  # doctest: +SKIP
    """
    share = config.share
    part, parts = share
    watch = Stopwatch()
    grid = _grid(config, watch)
    mine = held_alone(config.out, ConfigError, BUSY, part=f"-{part + 1}-of-{parts}")
    done = 0
    with mine, opened(config, base, watch, progress, grid.cells) as run:
        read_clips(run, share)
        for arm in run.patches:
            at_work = ClipArm(run, arm, share)
            ask_part(run, at_work, arm, share)
            _margins(run, at_work, arm, grid, share)
        # Counted on disk, so that whichever share ends last is the one that finds all there.
        for arm in run.patches:
            answered = len(all_rows(config.out, arm))
            done += min(answered, len(_known_margins(run, arm)))
    total = len(grid.cells) * len(config.arms)
    if done < total:
        return SwapShare(done, total, None)
    # Nothing is left to ask: this puts the parts together and scores them.
    whole = config.model_copy(update={"shard": None})
    return SwapShare(total, total, evaluate_swap(whole, run.model.base, progress))


def _grid(config: EvalConfig, watch: Stopwatch) -> _Grid:
    """The pairs of the records, before any base is loaded: what makes no pair is found at once."""
    if config.swap is None:
        raise ConfigError("swap: name the channel to exchange")
    with watch.stage("load"):
        records = limited(read_records(config.records), config.limit)
        judge = task_for(config.task, records).judge
        if judge is None:
            raise ConfigError(
                f"task {config.task!r} scores all answers together; swap needs a task that "
                "scores each answer, such as exact match (leave --task out)"
            )
        grids = pair_up(records, config.swap, judge, seed=config.seed)
    # Cells are ordinary records, which every arm answers as it answers any.
    return _Grid(grids.pairs, grids.cells(), grids.left_out, judge)


def _ask(run: Evaluation, arm: str, grid: _Grid) -> list[Outcome]:
    """One arm's outcome of each pair."""
    at_work = ClipArm(run, arm)  # every other arm's patches are off from here on
    with run.watch.stage(f"answer {arm}"):
        rows = ask_arm(run, at_work, arm)
    with run.watch.stage(f"weigh {arm}"):
        margins = _margins(run, at_work, arm, grid)
    return [outcome_of(pair, arm, rows, margins, grid.judge) for pair in grid.pairs]


def outcome_of(
    pair: Pair, arm: str, rows: Mapping[Key, ArmRow], margins: Margins, judge: Judge
) -> Outcome:
    """What one arm made of a pair, from its files.

    Args:
        pair: The pair.
        arm: The arm.
        rows: Its answers to the four cells, and perhaps more.
        margins: The margins of the cells.
        judge: How answers are told apart.
    """
    right, other, said, weighed = {}, {}, {}, {}
    for cell in CELLS:
        picture, side = cell
        record = pair.cell(picture, side)
        prediction = rows[arm, record.id].prediction
        # The clip whose answer is right here.
        target = pair.target(picture, side)
        wanted = references_of(pair.records[target])
        right[cell] = judge(prediction, wanted)
        if picture != side:  # there the other clip's answer is the other side's
            unwanted = references_of(pair.records[1 - target])
            other[cell] = judge(prediction, unwanted)
        # As answers are compared, so that a full stop is no change.
        spoken = without_thinking(prediction)
        said[cell] = normalise(spoken)
        weighed[cell] = margins[record.id]
    return outcome(right, other, said, weighed)


def _margins(
    run: Evaluation, at_work: ClipArm, arm: str, grid: _Grid, share: tuple[int, int] = (0, 1)
) -> Margins:
    """By how much the arm prefers a's answer to b's in every cell; kept in a file.

    With a share, in those of its clips.
    """
    folder = run.config.out / "margins"
    part, parts = share
    margins = _known_margins(run, arm)
    answers = {}  # id of a cell -> the two clips' answers
    for pair in grid.pairs:
        # Of several accepted answers the first; the others are spellings of it.
        both = [references_of(record)[0] for record in pair.records]
        for picture, side in CELLS:
            answers[pair.cell(picture, side).id] = both
    # A clip's cells share its prefix; one clip at a time bounds the memory.
    clips = group_by_clip(run.asked)[part::parts]
    own: Margins = {}
    for number, members in enumerate(clips, 1):
        missing = [record for record in members if record.id not in margins]
        if missing:
            own |= _weighed(run, at_work, members, answers)
        if run.progress is not None:
            run.progress(f"weigh {arm}", number, len(clips))
    margins |= own
    if parts > 1:
        kept = {}
        for record in chain.from_iterable(clips):
            kept[record.id] = margins[record.id]
        _write(folder / f"{arm}.part-{part + 1}-of-{parts}.json", kept)
    else:
        _write(folder / f"{arm}.json", margins)
    return margins


def _weighed(
    run: Evaluation, at_work: ClipArm, members: Sequence[Record], answers: Mapping[str, list[str]]
) -> Margins:
    """The margins of the cells of one clip."""
    dialogues = []
    wanted = []
    for record in members:
        dialogues.append(open_turns(record))
        wanted.append(answers[record.id])
    asked = questions_about(run.model, at_work.features[members[0]], dialogues)
    (weighed,) = log_probabilities(run.model, [asked], [wanted])
    found = {}
    for record, (first, second) in zip(members, weighed, strict=True):
        found[record.id] = first - second
    return found


def _known_margins(run: Evaluation, arm: str) -> Margins:
    """What any process has weighed so far."""
    folder = run.config.out / "margins"
    found: Margins = {}
    # Whole files, and of these settings, which the folder is bound to.
    for file in (folder / f"{arm}.json", *entries_of(folder, f"{escape(arm)}.part-*-of-*.json")):
        if file.exists():
            known = read_object(file, ConfigError, "delete the file, and it is written again")
            for name, value in known.items():
                found[name] = float(value)
    return found


def _write(file: Path, margins: Margins) -> None:
    write_text_atomically(file, json.dumps(margins))
