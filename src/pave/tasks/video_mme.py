"""VideoMME: 2,700 multiple-choice questions about 900 videos, short, medium and long.

Accuracy, here without subtitles. The authors score with the benchmark's script in lmms-eval, where
the first capital A to D anywhere counts; by default the letter is read properly. The prompt is
theirs in both styles.
"""

from __future__ import annotations

from pave.errors import RecordError
from pave.metrics.choice_scripts import first_capital
from pave.tasks.avqa import SELECT
from pave.tasks.pairing import text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import choice
from pave.tasks.task import Example, Files, Style, Task, only_file, videos

# Options come with their letters ("A. a dog"), so the template adds none.
PROMPT = Prompt(
    SELECT
    + "{question}\n{options}\n\nAnswer with the option's letter from the given choices directly.",
    "{text}",
    "\n",
)
DURATIONS = ("short", "medium", "long")
"""Under 2 minutes, 4 to 15, 30 to 60."""
_WHAT = "the rows of lmms-lab/Video-MME (split test) as JSON or JSON lines"


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record."""
    found = []
    for row in only_file(files, _WHAT):
        where = f"question {text(row, 'question_id', 'question')}"
        video = text(row, "videoID", where)
        letter = text(row, "answer", where)
        duration = text(row, "duration", where)
        # The paper's table has a row for each, so another word would make a row of its own.
        if duration not in DURATIONS:
            raise RecordError(
                f"{where}: duration must be one of {', '.join(DURATIONS)}, got {duration!r}"
            )
        options = texts(row, "options", where)
        example = Example(
            id=str(row["question_id"]),
            video_id=video,
            video=videos(video, f"data/{video}"),  # the archives unpack into data/
            turns=((PROMPT.render(text(row, "question", where), options), letter),),
            answers=(letter,),
            options=options,
            labels=(duration, text(row, "task_type", where)),
            feature=(f"{video}.pt",),
            meta={"domain": row.get("domain", ""), "sub_category": row.get("sub_category", "")},
        )
        found.append(example)
    return found


@register_task("videomme")
def video_mme() -> Task:
    """VideoMME."""
    return Task(
        name="videomme",
        title="VideoMME",
        splits={"test": 2_700},
        tested_on="test",
        channel="frames",
        annotations=_WHAT,
        prompt=PROMPT,
        examples=examples,
        score=choice(first_capital),  # the authors: the first of A to D anywhere
    )
