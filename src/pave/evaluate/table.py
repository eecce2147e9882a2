"""Scores as tables: what `pave eval`, `pave score` and `pave compare` print.

Scores are fractions everywhere else; here they are points, times 100, as papers print them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pave.channels import describe_encoder
from pave.evaluate.scores import ScoreGap, TaskScores
from pave.metrics import MARKED
from pave.tasks import EXACT
from pave.tasks.compare import ALL, Comparison, table_label
from pave.tasks.grids import CONTROL
from pave.tasks.score import Interval, ScoreReport

Cells = tuple[list[str], list[list[str]]]
"""Header and rows of a table."""
FEW = "*"
"""Stands behind an interval over fewer than ten videos."""
FEW_NOTE = f"{FEW} fewer than {MARKED} videos: too few for a claim"


@dataclass(frozen=True)
class Row:
    """One row of an evaluation's table: a score of some questions, of every arm.

    Attributes:
        label: "all", or the label of the questions.
        title: What the row is called.
        score: Name of the score.
        n: Questions.
        values: Arm -> score; None for one that could not be computed.
        intervals: Arm -> interval of its score, where there is one.
        gaps: Earlier arm -> the last arm's difference to it; None for scores that are no means.
    """

    label: str
    title: str
    score: str
    n: int
    values: dict[str, float | None]
    intervals: dict[str, Interval | None]
    gaps: dict[str, ScoreGap | None]


def rows_of(scores: TaskScores) -> list[Row]:
    """The table of an evaluation: the scores that papers print, then those of each label."""
    first = next(iter(scores.arms.values()))
    rows = []
    for score in first.table:
        totals = {arm: report.scores[score] for arm, report in scores.arms.items()}
        rows.append(_row(scores, ALL, score, first.scored, totals))
    for place, label in enumerate(first.labels):
        # Every arm answered the same questions, so the labels stand in the same places.
        for score in label.scores:
            means: dict[str, float | None] = {}
            for arm, report in scores.arms.items():
                means[arm] = report.labels[place].scores[score]
            rows.append(_row(scores, table_label(label.label), score, label.n, means))
    return rows


def _row(
    scores: TaskScores, label: str, score: str, n: int, values: dict[str, float | None]
) -> Row:
    *others, last = scores.arms  # the patch comes last, after what it is compared with
    intervals = {arm: scores.interval(arm, score, label) for arm in scores.arms}
    gaps = {other: scores.gap(score, label, last, other) for other in others}
    title = row_title(label)
    if not scores.exact and label != ALL:
        title = label  # a benchmark's own word, also where a channel is called so
    return Row(label, title, score, n, values, intervals, gaps)


def row_title(label: str) -> str:
    """What the row of a channel is called; any other label stands for itself.

    Example:
        >>> row_title("all"), row_title("audio"), row_title("video"), row_title("counting")
        ('all questions', 'needs sound', 'visual control', 'counting')
    """
    if label == ALL:
        return "all questions"
    if label == CONTROL:
        return "visual control"
    title = describe_encoder(label).title
    if title == label:  # nobody has said what it is called, or it is no channel
        return label
    return f"needs {title}"


def evaluation_table(scores: TaskScores) -> Cells:
    """A row a score and label, a column an arm, then the last arm's differences to the others."""
    *others, last = scores.arms
    header = ["questions", "score", "n", *scores.arms]
    header += [f"{last} - {other}" for other in others]
    rows = []
    for row in rows_of(scores):
        cells = [row.title, row.score, str(row.n)]
        for arm, value in row.values.items():
            cell = _value(value, row.intervals[arm])
            # Wilson's interval of an exact match counts questions, and needs no mark.
            if not scores.exact and row.intervals[arm] is not None:
                cell += _of_arm(scores.arms[arm])
            cells.append(cell)
        cells += map(_gap, row.gaps.values())
        rows.append(cells)
    if scores.exact:  # it has one score, and the text around the table names it
        header.pop(1)
        for cells in rows:
            cells.pop(1)
    return header, rows


def score_table(report: ScoreReport) -> Cells:
    """The scores of one set of predictions, with their intervals."""
    rows = []
    for name, value in report.scores.items():
        interval = _ends(report.ci95.get(name), ".1f")
        if report.task != EXACT:  # its Wilson's interval counts questions
            interval = f"{interval}{_of_arm(report)}".strip()
        rows.append([name, _points(value), interval])
    return ["score", "x 100", "95 % interval"], rows


def label_table(report: ScoreReport) -> Cells:
    """Its scores by label; without rows where there are no labels."""
    names = list(report.labels[0].scores) if report.labels else []
    rows = []
    for row in report.labels:
        points = map(_points, row.scores.values())
        rows.append([row.label, str(row.n), *points])
    return ["questions", "n", *names], rows


def comparison_table(found: Sequence[Comparison]) -> Cells:
    """Two runs side by side: a row a score and label."""
    header = ["questions", "score", "n", "videos", "a", "b", "b - a", "95 % interval", "p"]
    rows = []
    for row in found:
        # Questions of one video count as one draw, so both numbers matter.
        counts = [row.label, row.score, str(row.n), str(row.clusters)]
        means = [_points(row.a), _points(row.b), f"{100 * row.difference:+.1f}"]
        interval = _ends(row.ci95, "+.1f") + mark(row.clusters)
        # Of 10,000 draws the smallest p-value is 0.0001.
        rows.append([*counts, *means, interval, f"{row.p:.4f}"])
    return header, rows


def mark(clusters: int | None) -> str:
    """What stands behind an interval over so many videos."""
    if clusters is None or clusters >= MARKED:
        return ""
    return f" {FEW}"


def _of_arm(report: ScoreReport) -> str:
    """The mark of an interval over all videos of an arm."""
    return mark(int(report.settings["clusters"]))


def few_note(table: Cells) -> list[str]:
    """What the mark of a table means, where it is in the table.

    Example:
        >>> few_note((["score"], [["1.0 to 2.0 *"]]))
        ['* fewer than 10 videos: too few to rest a claim on']
        >>> few_note((["score"], [["1.0 to 2.0"]]))
        []
    """
    for row in table[1]:
        # The mark stands behind a number, or alone where there is no interval.
        for cell in row:
            if cell.split()[-1:] == [FEW]:
                return [FEW_NOTE]
    return []


def _points(value: float | None) -> str:
    """A score in points; METEOR is missing without Java."""
    if value is None:
        return "n/a"
    return f"{100 * value:.1f}"


def _ends(interval: Interval | None, form: str) -> str:
    """An interval in points, each end in one format; empty where there is none."""
    if interval is None:
        return ""
    low, high = interval
    return f"{100 * low:{form}} to {100 * high:{form}}"


def _value(value: float | None, interval: Interval | None) -> str:
    """A score and its interval, in whole points: its ends are no more certain than that."""
    if value is None or interval is None:
        return _points(value)
    return f"{_points(value)} ({_ends(interval, '.0f')})"


def _gap(gap: ScoreGap | None) -> str:
    """A difference and its interval; empty for a score that is no mean over questions."""
    if gap is None:
        return ""
    difference = f"{100 * gap.difference:+.1f}"
    # Without an interval the mark stays: it says why there is none.
    if gap.ci95 is not None:
        difference += f" ({_ends(gap.ci95, '+.1f')})"
    return difference + mark(gap.clusters)
