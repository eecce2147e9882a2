"""MLVU, development set, multiple choice: nine kinds of questions about long videos.

The score is the accuracy over all of them. Reads the repackaged rows that lmms-eval uses (options
inside the question, a letter as answer). The authors score with its script: the character before
the first ")", or the whole answer; by default the letter is read properly.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from pave.metrics.choice_scripts import bracketed
from pave.tasks.pairing import text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import choice
from pave.tasks.task import Example, Files, Style, Task, only_file

# Ends inside a bracket, which the answer is to close: "(" + "B) a dog".
PROMPT = Prompt("\n{question}\nOnly give the best option.\n\nBest option: (")
_WHAT = "the rows of sy1998/MLVU_dev (split test) as JSON or JSON lines"


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record."""
    found = []
    for number, row in enumerate(only_file(files, _WHAT)):
        where = f"row {number}"
        video = text(row, "video_name", where)
        letter = text(row, "answer", where)
        kind = text(row, "task_type", where)
        # The question lists its options itself; their texts help to read an answer in words.
        options: tuple[str, ...] = ()
        if row.get("candidates"):
            options = texts(row, "candidates", where)
        stem = video.split(".")[0]
        example = Example(
            # Not every copy of the rows numbers them.
            id=str(row.get("question_id", f"{kind}-{number}")),
            video_id=video,
            video=(video, f"video/{video}", f"videos/{video}"),
            turns=((PROMPT.render(text(row, "question", where)), letter),),
            answers=(letter,),
            options=options,
            labels=(kind,),
            feature=(f"{stem}.pt", f"{PurePosixPath(stem).name}.pt"),
            meta={"duration": row.get("duration")},
        )
        found.append(example)
    return found


@register_task("mlvu")
def mlvu() -> Task:
    """MLVU."""
    return Task(
        name="mlvu",
        title="MLVU",
        splits={"test": 2_174},
        tested_on="test",
        channel="frames",
        annotations=_WHAT,
        prompt=PROMPT,
        examples=examples,
        score=choice(bracketed),  # the authors: what stands before the bracket
    )
