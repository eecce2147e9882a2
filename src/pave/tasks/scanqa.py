"""ScanQA: questions about ScanNet rooms. Tested on val (the test answers are hidden); CIDEr, BLEU-4, METEOR, ROUGE-L, EM@1.

| | default | authors |
|---|---|---|
| names of val questions | those of the data set | "000001", "000002", ... in the order of the file |
| refined match of an empty answer | wrong | right, also for an answer without any ASCII character |

Training targets are the first answer in both. Scenes are folders of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pave.errors import RecordError
from pave.tasks.pairing import as_text, field, in_order, text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import matches_and_captions
from pave.tasks.task import Example, Files, Item, Prediction, Style, Task, conversation, only_file

_WHAT = "ScanQA_v1.0_train.json or ScanQA_v1.0_val.json"
_KINDS = ("what", "where", "how", "which", "is", "on")


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record, all its answers accepted."""
    found = []
    for number, row in enumerate(_rows(files), 1):
        name = (
            f"{number:06d}" if style == "authors" and split != "train" else str(row["question_id"])
        )
        answers = texts(row, "answers", f"question {name}")
        turn = (str(row["question"]), answers[0] if answers else None)
        kind = kind_of(row["question"], _KINDS)
        meta = {"question_id": row["question_id"], "object_ids": row.get("object_ids", [])}
        scene = str(row["scene_id"])
        found.append(
            Example(
                name,
                scene,
                scene_folders(scene),
                (turn,),
                answers,
                labels=(kind,),
                feature=scene_features(scene),
                meta=meta,
            )
        )
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`scanqa_train_instruct.json`, or the question and answer files of val."""
    rows = only_file(files, _WHAT)
    if split == "train":
        return {
            "scanqa_train_instruct.json": [
                {
                    "id": row["question_id"],
                    "conversations": conversation(row["question"], row["answers"][0]),
                    "video": row["scene_id"],
                }
                for row in rows
            ]
        }
    questions, answers = [], []
    for number, row in enumerate(rows, 1):
        scene = row.get("scene_id", "")
        head = {"question_id": f"{number:06d}", "scene_id": scene}
        questions.append(
            {
                **head,
                "text": row.get("question", ""),
                "answers": row.get("answers", []),
                "video": scene,
            }
        )
        answers.append({**head, "text": row.get("answers", []), "video": scene})
    return {
        "llava-3d-scanqa_val_question.json": questions,
        "llava3d_scanqa_val_answer.json": answers,
    }


def pair(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions beside the authors' answer file, line by line."""
    return [
        Item(
            prediction.id,
            str(row.get("scene_id", prediction.id)),
            prediction.text,
            tuple(_answers(row)),
        )
        for prediction, row in in_order(predictions, references)
    ]


def scene_folders(scene: str) -> tuple[str, ...]:
    """Where the frames of a ScanNet scene may be."""
    return (scene, f"posed_images/{scene}", f"posed_images_new/{scene}")


def scene_features(scene: str) -> tuple[str, ...]:
    """Where precomputed features of a scene may be."""
    return (f"{scene}.pt", f"{scene}/video_features.pt", f"{scene}.safetensors")


def kind_of(question: str, kinds: Sequence[str]) -> str:
    """The first word if it is one of `kinds`, else "other"."""
    first = (question.split() or [""])[0].lower()
    return first if first in kinds else "other"


def _rows(files: Files) -> list[dict[str, Any]]:
    rows = only_file(files, _WHAT)
    if not isinstance(rows, list):
        raise RecordError(
            f"ScanQA's annotations are a list of questions; this is another file (wanted: {_WHAT})"
        )
    for number, row in enumerate(rows, 1):
        for name in ("scene_id", "question_id", "question"):
            text(row, name, f"question {number}")
        if "answers" not in row:
            raise RecordError(
                f"question {row['question_id']!r} has no answers: ScanQA's test answers are "
                "hidden; use val"
            )
    return rows


def _answers(row: dict[str, Any]) -> list[str]:
    found, where = field(row, "text", "reference"), f"reference of question {row['question_id']!r}"
    if found in ([], None):
        raise RecordError(
            f"question {row['question_id']!r} has no reference answer; is this the answer file?"
        )
    return [as_text(value, where) for value in (found if isinstance(found, list) else [found])]


@register_task("scanqa")
def scanqa() -> Task:
    """ScanQA."""
    return Task(
        name="scanqa",
        title="ScanQA",
        splits={"train": 25_563, "val": 4_675},
        tested_on="val",
        channel="scene3d",
        annotations=_WHAT,
        prompt=Prompt(),
        examples=examples,
        score=matches_and_captions,
        authors_files=authors_files,
        pair=pair,
        max_new_tokens=64,
    )
