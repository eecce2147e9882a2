"""ScanQA: questions about ScanNet rooms. Tested on val, since the test answers are hidden.

Scores are CIDEr, BLEU-4, METEOR, ROUGE-L and EM@1. Training targets are the first answer in both
styles. Scenes are folders of frames.

| | default | authors |
|---|---|---|
| names of val questions | those of the data set | "000001", ... in the order of the file |
| refined match of an empty answer | wrong | right, also for an answer without any ASCII character |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pave.errors import RecordError
from pave.tasks.pairing import as_text, field, in_order, text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import matches_and_captions
from pave.tasks.task import Example, Files, Item, Prediction, Style, Task, authors_sample, only_file

_WHAT = "ScanQA_v1.0_train.json or ScanQA_v1.0_val.json"
_KINDS = ("what", "where", "how", "which", "is", "on")


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record, all its answers accepted."""
    found = []
    for number, row in enumerate(_rows(files), 1):
        name = str(row["question_id"])
        # Predictions made by their scripts carry these, and are scored beside such records.
        if style == "authors" and split != "train":
            name = _number(number)
        answers = texts(row, "answers", f"question {name}")
        # Training learns the first answer; scoring accepts all of them.
        target = answers[0] if answers else None
        scene = str(row["scene_id"])
        example = Example(
            id=name,
            video_id=scene,
            video=scene_folders(scene),
            turns=((str(row["question"]), target),),
            answers=answers,
            labels=(kind_of(row["question"], _KINDS),),
            feature=scene_features(scene),
            meta={"question_id": row["question_id"], "object_ids": row.get("object_ids", [])},
        )
        found.append(example)
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`scanqa_train_instruct.json`, or the question and answer files of val."""
    rows = only_file(files, _WHAT)
    if split == "train":
        samples = []
        for row in rows:
            question, answer = row["question"], row["answers"][0]
            samples.append(authors_sample(row["question_id"], row["scene_id"], question, answer))
        return {"scanqa_train_instruct.json": samples}
    questions, answers = [], []
    for number, row in enumerate(rows, 1):
        # Written as their script writes it, also where a field is missing.
        scene, accepted = row.get("scene_id", ""), row.get("answers", [])
        head = {"question_id": _number(number), "scene_id": scene}
        question = row.get("question", "")
        questions.append({**head, "text": question, "answers": accepted, "video": scene})
        answers.append({**head, "text": accepted, "video": scene})
    return {
        "llava-3d-scanqa_val_question.json": questions,
        "llava3d_scanqa_val_answer.json": answers,
    }


def pair(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions beside the authors' answer file, line by line."""
    items = []
    for prediction, row in in_order(predictions, references):
        item = Item(
            id=prediction.id,
            # Some answer files leave the scene out; each question is then its own.
            cluster=str(row.get("scene_id", prediction.id)),
            prediction=prediction.text,
            references=tuple(_answers(row)),
        )
        items.append(item)
    return items


def _number(number: int) -> str:
    """The authors' name of a val question: its place in the file, from 1."""
    return f"{number:06d}"


def scene_folders(scene: str) -> tuple[str, ...]:
    """Where the frames of a ScanNet scene may be."""
    return (scene, f"posed_images/{scene}", f"posed_images_new/{scene}")


def scene_features(scene: str) -> tuple[str, ...]:
    """Where precomputed features of a scene may be."""
    return (f"{scene}.pt", f"{scene}/video_features.pt", f"{scene}.safetensors")


def kind_of(question: str, kinds: Sequence[str]) -> str:
    """The first word if it is one of `kinds`, else "other".

    Example:
        >>> kind_of("What is red?", ["what"]), kind_of("", ["what"])
        ('what', 'other')
    """
    words = question.lower().split()
    if words and words[0] in kinds:
        return words[0]
    return "other"


def _rows(files: Files) -> list[dict[str, Any]]:
    """The questions of the annotation file, checked."""
    rows = only_file(files, _WHAT)
    if not isinstance(rows, list):
        raise RecordError(
            "ScanQA's annotations are a list of questions; this is another file (expected: "
            f"{_WHAT})"
        )
    for number, row in enumerate(rows, 1):
        # Checked before anything is made of them, so that a message has the place in the file.
        for name in ("scene_id", "question_id", "question"):
            text(row, name, f"question {number}")
        if "answers" not in row:
            raise RecordError(
                f"question {row['question_id']!r} has no answers: ScanQA's test answers are "
                "hidden; use val"
            )
    return rows


def _answers(row: dict[str, Any]) -> list[str]:
    """The references of a row of the answer file: one text, or a list of them."""
    where = f"reference of question {row['question_id']!r}"
    found = field(row, "text", "reference")
    if found in ([], None):
        raise RecordError(
            f"question {row['question_id']!r} has no reference answer; check that this is the "
            "file with answers"
        )
    if not isinstance(found, list):
        found = [found]
    return [as_text(value, where) for value in found]


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
        max_new_tokens=64,  # answers may describe a place
    )
