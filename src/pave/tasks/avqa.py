"""AVQA: multiple-choice questions about VGGSound clips that sound and picture together answer. Tested on val, accuracy.

The authors count an answer as right if the right letter is anywhere in it ("Answer" holds an A); by
default the letter is read properly. The prompt is theirs in both styles, "subtitles" included,
since their patches were trained with it.
"""

from __future__ import annotations

from typing import Any

from pave.tasks.pairing import self_contained, text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import choice
from pave.tasks.task import Example, Files, Style, Task, conversation, only_file, videos

SELECT = (
    "Select the best answer to the following multiple-choice question based on the video and the "
    "subtitles. "
    "Respond with only the letter (A, B, C, or D) of the correct option.\n"
)
PROMPT = Prompt(
    SELECT
    + "{question}\n{options}Answer with the option's letter from the given choices directly.",
    "{letter}.{text}\n",
)
LETTERS = "ABCD"
_WHAT = "train_qa.json or val_qa.json"


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One multiple-choice question a record; the answer is the letter."""
    found = []
    for row in only_file(files, _WHAT):
        video, letter = text(row, "video_name", "question"), LETTERS[row["answer"]]
        where = f"question {text(row, 'id', 'question')}"
        relation, kind = str(row.get("question_relation", "")), str(row.get("question_type", ""))
        found.append(
            Example(
                str(row["id"]),
                video,
                videos(video),
                ((_question(row), letter),),
                answers=(letter,),
                options=texts(row, "multi_choice", where)[: len(LETTERS)],
                labels=tuple(label for label in (relation, kind) if label),
                feature=(f"{video}.pt",),
            )
        )
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`train_qa_instruct.json` and the two mapping files."""
    rows = only_file(files, _WHAT)
    names = [row["video_name"] for row in rows]
    return {
        "train_qa_instruct.json": [
            {
                "id": row["id"],
                "conversations": conversation(_question(row), LETTERS[row["answer"]]),
                "video": row["video_name"],
            }
            for row in rows
        ],
        "from_vid_to_video_name.json": {name: f"{name}.mp4" for name in names},
        "from_vid_to_feat_name.json": {name: f"{name}.pt" for name in names},
    }


def _question(row: Any) -> str:
    return PROMPT.render(
        text(row, "question_text", "question"),
        texts(row, "multi_choice", "question")[: len(LETTERS)],
    )


@register_task("avqa")
def avqa() -> Task:
    """AVQA."""
    return Task(
        name="avqa",
        title="AVQA",
        splits={"train": 40_425, "val": 16_910},
        tested_on="val",
        channel="audio",
        annotations=_WHAT,
        prompt=PROMPT,
        examples=examples,
        score=choice(None),
        authors_files=authors_files,
        pair=self_contained,
        self_contained=True,
    )
