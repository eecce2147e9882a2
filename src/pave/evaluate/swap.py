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
from pathlib import Path

from pave.answer import questions_about
from pave.answer.weighing import log_probabilities
from pave.bases import Base
from pave.data import Features, group_by_clip, read_records
from pave.errors import ConfigError
from pave.evaluate.arm_files import ArmRow, Key
from pave.evaluate.asking import Evaluation, Progress, ask_arm, open_turns, put_to_work
from pave.evaluate.config import EvalConfig
from pave.evaluate.machine import PeakMemory, Stopwatch, versions
from pave.evaluate.run import BUSY, limited, opened
from pave.evaluate.scores import task_for
from pave.evaluate.swap_report import (
    Outcome,
    SwapReport,
    outcome,
    rows_of,
    write_swap_report,
)
from pave.files import held_alone, write_text_atomically
from pave.metrics import normalise, without_thinking
from pave.tasks.grids import CELLS, Judge, Pair, pair_up
from pave.tasks.items import references_of
from pave.texts import read_object

Margins = dict[str, float]
"""Id of a cell -> log-probability of a's answer minus that of b's."""


def evaluate_swap(
    config: EvalConfig, base: Base | None = None, progress: Progress | None = None
) -> SwapReport:
    """Ask every arm about exchanged channels, and write the results into `config.out`.

    These are `<arm>.jsonl` (an answer a cell), `margins/<arm>.json`, `swap.json` and `swap.md`. An
    interrupted evaluation goes on where it stopped.

    Args:
        config: What to ask whom; `swap` names the channel.
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
    if config.swap is None:
        raise ConfigError("swap: name the channel that is to be exchanged")
    watch = Stopwatch()
    # Before the base is loaded: records that make no pair are found in a second.
    with watch.stage("load"):
        records = limited(read_records(config.records), config.limit)
        judge = task_for(config.task, records).judge
        if judge is None:
            raise ConfigError(
                f"task {config.task!r} scores all answers together; a swap needs one that judges "
                "each, such as exact match (leave --task out)"
            )
        grids = pair_up(records, config.swap, judge, seed=config.seed)
    # Ordinary records, which every arm answers as it answers any.
    cells = grids.cells()
    outcomes = {}
    with held_alone(config.out, ConfigError, BUSY), PeakMemory() as memory:
        with opened(config, base, watch, progress, cells) as run:
            for arm in run.patches:
                outcomes[arm] = _ask(run, arm, grids.pairs, judge)
        with watch.stage("statistics"):
            rows = rows_of(grids.pairs, outcomes, resamples=config.resamples, seed=config.seed)
    report = SwapReport(
        channel=config.swap,
        rows=rows,
        left_out=grids.left_out,
        seconds=watch.seconds,
        peak_rss_mb=memory.megabytes,
        seeds={"pairs and bootstrap": config.seed},
        versions=versions(),
        command=shlex.join(["pave", *sys.argv[1:]]),
        settings=config.model_dump(mode="json"),
    )
    write_swap_report(report, config.out)
    return report


def _ask(run: Evaluation, arm: str, pairs: Sequence[Pair], judge: Judge) -> list[Outcome]:
    """One arm's outcome of each pair."""
    features = put_to_work(run, arm)  # every other arm's patches are off from here on
    with run.watch.stage(f"answer {arm}"):
        rows = ask_arm(run, features, arm)
    with run.watch.stage(f"weigh {arm}"):
        margins = _margins(run, features, arm, pairs)
    return [_outcome(pair, arm, rows, margins, judge) for pair in pairs]


def _outcome(
    pair: Pair, arm: str, rows: Mapping[Key, ArmRow], margins: Margins, judge: Judge
) -> Outcome:
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


def _margins(run: Evaluation, features: Features, arm: str, pairs: Sequence[Pair]) -> Margins:
    """By how much the arm prefers a's answer to b's in every cell; kept in a file."""
    file = run.config.out / "margins" / f"{arm}.json"
    if file.exists():  # whole, and of these settings, which the folder is bound to
        return _read(file)
    answers = {}  # id of a cell -> the two clips' answers
    for pair in pairs:
        # Of several accepted answers the first; the others are spellings of it.
        both = [references_of(record)[0] for record in pair.records]
        for picture, side in CELLS:
            cell = pair.cell(picture, side)
            answers[cell.id] = both
    margins = {}
    # A clip's cells share its prefix; one clip at a time bounds the memory.
    clips = group_by_clip(run.asked)
    for number, members in enumerate(clips, 1):
        dialogues = []
        wanted = []
        for record in members:
            dialogues.append(open_turns(record))
            wanted.append(answers[record.id])
        seen = features[members[0]]
        asked = questions_about(run.model, seen, dialogues)
        (weighed,) = log_probabilities(run.model, [asked], [wanted])
        for record, (first, second) in zip(members, weighed, strict=True):
            margins[record.id] = first - second
        if run.progress is not None:
            run.progress(f"weigh {arm}", number, len(clips))
    write_text_atomically(file, json.dumps(margins))
    return margins


def _read(file: Path) -> Margins:
    found = read_object(file, ConfigError, "delete it, and it is made again")
    return {name: float(value) for name, value in found.items()}
