"""`write_page`: an evaluation as one HTML file to look through, with pictures and sound.

The file needs no server and no network: style, script, thumbnails and sounds are inside, and its
own policy forbids it to load anything. Texts of records and answers reach the page as data; the
script shows them as text and never as HTML.
"""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

from pave.data import clip_key
from pave.evaluate.clip_media import as_data, media_of
from pave.evaluate.finished import Finished, Place, Question, read_finished
from pave.evaluate.report import table
from pave.evaluate.table import few_note, rows_of
from pave.files import make_folder, write_text_atomically
from pave.metrics import MARKED
from pave.tasks.items import references_of
from pave.texts import counted

logger = logging.getLogger(__name__)

PAGE = "report.html"
"""Its name in the folder of an evaluation."""
QUESTIONS = 500
"""Questions of the contact sheet; with thumbnails and four seconds of sound about 3 MB."""
SECONDS = 10.0
"""Of each clip's sound."""
# What could end a script element, or begin a comment in one.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}

Progress = Callable[[str, int, int], None]
Clip = list[Question]


def write_page(
    run: Place,
    out: Place | None = None,
    *,
    records: Place | None = None,
    questions: int = QUESTIONS,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Path:
    """Write the page of a finished evaluation.

    Args:
        run: The out folder of `pave eval`.
        out: The file; `report.html` in that folder when not given.
        records: The records that were asked, where they have been moved.
        questions: Most questions on the contact sheet. Clips on which the arms differ come first;
            the page says how many were left out.
        seconds: Most of each clip's sound.
        progress: Called with (stage, done, total).

    Returns:
        The file.

    Raises:
        ConfigError: If the folder holds no finished evaluation, or the records are others.
        RecordError: If records or answers cannot be read.

    Example:
        >>> write_page("runs/eval")  # doctest: +SKIP
        PosixPath('runs/eval/report.html')
    """
    finished = read_finished(run, records)
    every = _clips(finished)
    chosen = _chosen(every, questions)
    clips = []
    for number, clip in enumerate(chosen, 1):
        clips.append(_clip(clip, seconds))
        if progress is not None:
            progress("clips", number, len(chosen))
    content = _content(finished, clips, total=len(every))
    target = Path(out or finished.folder / PAGE)
    make_folder(target.parent)
    write_text_atomically(target, _fill(finished, content))
    _tell_problems(clips)
    return target


def _clips(finished: Finished) -> list[Clip]:
    """The questions by clip, in the order of the records."""
    by_clip: dict[str, Clip] = {}
    for question in finished.questions:
        by_clip.setdefault(clip_key(question.record), []).append(question)
    return list(by_clip.values())


def _chosen(clips: Sequence[Clip], most: int) -> list[Clip]:
    """Whole clips of at most so many questions; those on which the arms differ first."""
    # Sorting keeps the order of the records among equals.
    ranked = sorted(clips, key=_agreement)
    chosen: list[Clip] = []
    count = 0
    for clip in ranked:
        if chosen and count + len(clip) > most:
            continue  # a smaller clip may still fit
        chosen.append(clip)
        count += len(clip)
    return chosen


def _agreement(clip: Clip) -> float:
    """Minus the share of the clip's questions on which not all arms score alike."""
    differing = [question for question in clip if len(set(question.scores.values())) > 1]
    return -len(differing) / len(clip)


def _clip(clip: Clip, seconds: float) -> dict[str, Any]:
    """What the page knows of a clip."""
    first = clip[0].record
    questions = []
    for question in clip:
        record = question.record
        # Benchmarks accept a dozen spellings; the first few tell what is meant.
        expected = references_of(record)[:3]
        questions.append(
            {
                "id": record.id,
                "asked": record.turns[-1].question,
                "options": record.options,
                "expected": expected,
                "labels": question.labels,
                "said": question.said,
                "scores": question.scores,
            }
        )
    # The name alone: a page that is passed on should not tell where somebody keeps files.
    name = Path(first.video).name
    return {"name": name, "media": as_data(media_of(first, seconds)), "questions": questions}


def _content(finished: Finished, clips: list[dict[str, Any]], *, total: int) -> dict[str, Any]:
    """Everything that the script shows."""
    report = finished.report
    return {
        "arms": report.arm_names(),
        "clips": clips,
        "total": total,
        "asked": len(finished.questions),
        "titles": _titles(finished),
        "gaps": _gaps(finished),
        "enough": MARKED,  # clips below which an interval is marked
        "right": _judged(finished.questions),
    }


def _titles(finished: Finished) -> dict[str, str]:
    """Label -> what the result table calls its row, in the table's order."""
    titles = {}
    for row in rows_of(finished.report.task):
        titles[row.label] = row.title
    for question in finished.questions:
        # A benchmark may have labels of which its table has no row.
        for label in question.labels:
            titles.setdefault(label, label)
    return titles


def _gaps(finished: Finished) -> list[dict[str, Any]]:
    """The differences between arms, in points, as the table has them."""
    task = finished.report.task
    rows = rows_of(task)
    counts, places = {}, {}
    for place, row in enumerate(rows):
        counts[row.label] = row.n
        places[row.label, row.score] = place
    found: list[dict[str, Any]] = []
    for earlier, later in combinations(finished.report.arm_names(), 2):
        for gap in task.gaps:
            if (gap.a, gap.b) != (later, earlier):
                continue
            ends = None
            if gap.ci95 is not None:
                low, high = gap.ci95
                ends = [100 * low, 100 * high]
            found.append(
                {
                    "a": later,
                    "b": earlier,
                    "label": gap.label,
                    "score": gap.score,
                    "n": counts.get(gap.label),
                    "points": 100 * gap.difference,
                    "ends": ends,
                    "clips": gap.clusters,
                }
            )
    # A label that the table lacks comes last.
    return sorted(found, key=lambda gap: places.get((gap["label"], gap["score"]), len(places)))


def _judged(questions: Sequence[Question]) -> bool:
    """Whether every answer is right or wrong, and nothing between."""
    for question in questions:
        for score in question.scores.values():
            if score not in (0.0, 1.0):
                return False
    return True


def _fill(finished: Finished, content: Mapping[str, Any]) -> str:
    """The template with everything in its places."""
    places = files("pave.evaluate") / "templates"
    parts = {
        "<!--style-->": f"<style>{(places / 'report.css').read_text(encoding='utf-8')}</style>",
        "<!--summary-->": _summary(finished),
        "<!--table-->": _table(finished),
        "<!--data-->": _as_script(content),
        "<!--script-->": f"<script>{(places / 'report.js').read_text(encoding='utf-8')}</script>",
    }
    page = (places / "report.html").read_text(encoding="utf-8")
    # One pass over the template: a text that looks like a place must not be filled.
    whole = [parts.get(line.strip(), line) for line in page.splitlines()]
    return "\n".join(whole) + "\n"


def _summary(finished: Finished) -> str:
    """What was evaluated, in a sentence, and the command."""
    report = finished.report
    how = "Exact match"
    if not report.task.exact:  # a benchmark's own score
        how = f"{report.task.title}. {report.task.how()}"
    text = (
        f"{how}. {counted(len(finished.questions), 'question')} about "
        f"{counted(report.clips, 'clip')}; greedy answers, every arm on the same frames."
    )
    return f"<p>{html.escape(text)}</p>\n<pre>{html.escape(report.command)}</pre>"


def _table(finished: Finished) -> str:
    """The result table, also for readers without scripts."""
    header, rows = table(finished.report)
    lines = ["<table>", _row("th", header)]
    lines += [_row("td", cells, header) for cells in rows]
    lines.append("</table>")
    for note in few_note((header, rows)):
        lines.append(f"<p>{html.escape(note)}</p>")
    return "\n".join(lines)


def _row(kind: str, cells: Sequence[str], titles: Sequence[str] = ()) -> str:
    """A row; its cells name their columns, for narrow screens."""
    written = []
    for place, cell in enumerate(cells):
        label = ""
        if titles:
            label = f' data-label="{html.escape(titles[place])}"'
        written.append(f"<{kind}{label}>{html.escape(cell)}</{kind}>")
    return f"<tr>{''.join(written)}</tr>"


def _as_script(content: Mapping[str, Any]) -> str:
    """Data inside the page, which no text in it can leave."""
    # ASCII only, so that no encoding can change it.
    text = json.dumps(content, allow_nan=False)
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return f'<script id="data" type="application/json">{text}</script>'


def _tell_problems(clips: Sequence[Mapping[str, Any]]) -> None:
    """Say on the log, too, what the page lacks."""
    found = []
    for clip in clips:
        found += clip["media"]["problems"]
    if found:
        logger.warning(
            "%d clips or sounds could not be read and are listed on the page; the first: %s",
            len(found),
            found[0],
        )
