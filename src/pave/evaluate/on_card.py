"""The results of an evaluation, written into the folders of the patches that were evaluated."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from pave.data import read_records
from pave.errors import PatchError
from pave.evaluate.arm_files import ArmRow, Key, all_rows
from pave.evaluate.arms import PLAIN
from pave.evaluate.config import EvalConfig
from pave.evaluate.report import Report, how_to_read, table
from pave.evaluate.scores import ScoreGap, TaskScores
from pave.files import PlaceError
from pave.patches.config import Example
from pave.patches.folder import read_config
from pave.patches.folder_card import record_evaluation
from pave.patches.scores import Evaluation, Measured
from pave.tasks.compare import ALL
from pave.texts import counted
from pave.version import __version__


def write_on_cards(config: EvalConfig, report: Report) -> list[str]:
    """Write the scores of all arms into the patch folders of the arms, for their cards.

    An arm of several patches is written into the last one, which was trained on top of the others
    or was added to them. Quick looks (`limit`) and patches on the Hub are left alone.

    Args:
        config: Of the evaluation.
        report: What came out.

    Returns:
        A line on each folder: what was written, or why nothing was.
    """
    patched = {}
    for arm, spec in config.specs.items():
        # A control's scores are none of the patch's own.
        if spec.folders and spec.kind == PLAIN:
            patched[arm] = spec.folders[-1]
    if not patched:
        return []
    if config.limit is not None:
        return [
            "only part of the clips was evaluated, so the scores are not written to any "
            "patch's card"
        ]
    lines = []
    for arm, folder in patched.items():
        if not folder.is_dir():  # installed, or on the Hub
            lines.append(
                f"{folder} is not a local folder that you can write to, so the scores "
                "are not written to its card"
            )
            continue
        try:
            record_evaluation(folder, _evaluation(config, report, arm))
        except (PatchError, PlaceError) as error:
            # The evaluation itself is done and written; a folder of somebody else must not end it.
            lines.append(f"the scores were not written to the card of {folder}: {error}")
        else:
            lines.append(
                f"the scores were written to the card of {folder} (README.md, scores.json)"
            )
    return lines


def _evaluation(config: EvalConfig, report: Report, arm: str) -> Evaluation:
    """The whole evaluation, as the card of one arm's patch shows it."""
    header, rows = table(report)
    folders = config.arms[arm] or []
    return Evaluation(
        name=config.records.stem,
        task=report.task.name,
        title=report.task.title,
        arm=arm,
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        pave_version=__version__,
        header=header,
        rows=rows,
        how=how_to_read(report),
        measured=_measured(report.task, arm),
        example=_example(config, arm),
        weights=read_config(folders[-1]).files,
    )


def _measured(task: TaskScores, arm: str) -> list[Measured]:
    """The arm's own scores over all questions, with what others need to judge them."""
    report = task.arms[arm]
    found = []
    for score in report.table:
        value = report.scores[score]
        if value is None:  # METEOR without Java
            continue
        notes = [counted(report.scored, "question")]
        interval = task.interval(arm, score, ALL)
        if interval is not None:
            notes.append(f"95 % interval {_ends(interval)}")
        own = [gap for gap in task.gaps if (gap.score, gap.label) == (score, ALL)]
        notes += [_against(gap, arm) for gap in own if arm in (gap.a, gap.b)]
        points = round(100 * value, 2)
        text = "; ".join(notes)
        row = Measured(score=score, value=points, n=report.scored, notes=text)
        found.append(row)
    return found


def _against(gap: ScoreGap, arm: str) -> str:
    """The arm's difference to another one; a gap is a minus b."""
    sign, other = (1, gap.b) if gap.a == arm else (-1, gap.a)
    text = f"{100 * sign * gap.difference:+.1f} against {other}"
    if gap.ci95 is None:
        return text
    # Turned round, the ends change places.
    low, high = sorted(sign * end for end in gap.ci95)
    return f"{text} ({_ends((low, high), '+.1f')})"


def _ends(interval: tuple[float, float], form: str = ".1f") -> str:
    """An interval in points."""
    low, high = (format(100 * end, form) for end in interval)
    return f"{low} to {high}"


def _example(config: EvalConfig, arm: str) -> Example | None:
    """The first question that the patch answers rightly and the base does not, if there is one."""
    bare = [name for name, folders in config.arms.items() if not folders]
    if not bare:
        return None
    base = _by_id(all_rows(config.out, bare[0]))
    patch = _by_id(all_rows(config.out, arm))
    gained, lost = [], []
    for name, row in patch.items():
        if row.correct and base[name].correct is False:
            gained.append(name)
        # None where the task judges no single answer.
        if row.correct is False and base[name].correct:
            lost.append(name)
    if not gained:
        return None
    row = patch[gained[0]]
    clip = ""
    for record in read_records(config.records):
        if record.id == row.id:
            # Where it lies on this machine is nobody's business.
            clip = Path(record.video).name
    return Example(
        clip=clip,
        question=row.question,
        base=base[row.id].prediction,
        patch=row.prediction,
        wanted=row.answer,
        note=f"Of {counted(len(patch), 'question')} the patch turns {len(gained):,} from wrong "
        f"to right, of which this is the first, and {len(lost):,} from right to wrong.",
    )


def _by_id(rows: Mapping[Key, ArmRow]) -> dict[str, ArmRow]:
    """An arm's rows by the record."""
    return {row.id: row for row in rows.values()}
