"""AVQA: multiple-choice questions about VGGSound clips that sound and picture together answer.

Tested on val, accuracy. The authors count an answer as right if the right letter is anywhere in it
("Answer" holds an A); by default the letter is read properly. The prompt is theirs in both styles,
"subtitles" included, since their patches were trained with it.
"""

from __future__ import annotations

from typing import Any

from pave.tasks.pairing import self_contained, text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import choice
from pave.tasks.task import Example, Files, Style, Task, authors_sample, only_file, videos

# VideoMME's opening, which the authors took over; no clip here has subtitles.
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
        where = f"question {text(row, 'id', 'question')}"
        video = text(row, "video_name", "question")
        letter = LETTERS[row["answer"]]  # annotated as a place, 0 to 3
        # What the question relates ("Both", "Sound", "View"), and its kind ("Come From", ...).
        relation = str(row.get("question_relation", ""))
        kind = str(row.get("question_type", ""))
        example = Example(
            id=str(row["id"]),
            video_id=video,
            video=videos(video),
            turns=((_question(row), letter),),
            answers=(letter,),
            # The prompt asks for A to D; a further option could not be named.
            options=texts(row, "multi_choice", where)[: len(LETTERS)],
            labels=tuple(filter(None, (relation, kind))),
            feature=(f"{video}.pt",),
        )
        found.append(example)
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`train_qa_instruct.json` and the two mapping files."""
    samples = []
    video_map, feature_map = {}, {}
    for row in only_file(files, _WHAT):
        name = row["video_name"]
        samples.append(authors_sample(row["id"], name, _question(row), LETTERS[row["answer"]]))
        video_map[name] = f"{name}.mp4"
        feature_map[name] = f"{name}.pt"
    return {
        "train_qa_instruct.json": samples,
        "from_vid_to_video_name.json": video_map,
        "from_vid_to_feat_name.json": feature_map,
    }


def _question(row: Any) -> str:
    """The question as the model reads it, options included."""
    options = texts(row, "multi_choice", "question")[: len(LETTERS)]
    return PROMPT.render(text(row, "question_text", "question"), options)


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
        score=choice(None),  # the authors look for the right letter anywhere
        authors_files=authors_files,
        pair=self_contained,  # their predictions file holds the answers
        self_contained=True,
    )
