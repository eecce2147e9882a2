"""SQA3D: questions about a ScanNet room from a described place in it. Tested on test; EM@1 and refined EM@1, by first word.

| | default | authors |
|---|---|---|
| accepted answers | all of a question | the first one |
| kind of a question | its first word, in any case | its first word as written; leading spaces and "what" make it Other |
| refined match of an empty answer | wrong | right |

Reads the data set's own two files (questions and annotations) or the ScanQA-like single file of the
authors (`SQA_*.json`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pave.errors import RecordError
from pave.tasks.pairing import field, in_order, text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scanqa import kind_of, scene_features, scene_folders
from pave.tasks.scoring import matches
from pave.tasks.task import Example, Files, Item, Prediction, Style, Task, conversation

KINDS = ("What", "Is", "How", "Can", "Which", "Other")
_WHAT = "v1_balanced_questions_*_scannetv2.json and v1_balanced_sqa_annotations_*_scannetv2.json, or SQA_train.json / SQA_test.json"


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record: the situation, a space, the question."""
    found = []
    for row in _rows(files):
        answers = texts(row, "answers", f"question {row['question_id']}")
        kind = (
            KINDS[_kind(row["question"])]
            if style == "authors"
            else kind_of(row["question"], _LOWER).capitalize()
        )
        scene, turn = str(row["scene_id"]), (_text(row), answers[0])
        accepted = answers[:1] if style == "authors" else answers
        meta = {"position": row["position"]} if "position" in row else {}
        found.append(
            Example(
                str(row["question_id"]),
                scene,
                scene_folders(scene),
                (turn,),
                accepted,
                labels=(kind,),
                feature=scene_features(scene),
                meta=meta,
            )
        )
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`SQA_train_instruct.json`, or the answer and question files of the test set."""
    rows = _rows(files)
    if split == "train":
        return {
            "SQA_train_instruct.json": [
                {
                    "id": str(row["question_id"]),
                    "conversations": conversation(_text(row), row["answers"][0]),
                    "video": row["scene_id"],
                }
                for row in rows
            ]
        }
    answers, questions = [], []
    for row in rows:
        scene, kind = row["scene_id"], _kind(row["question"])
        head = {"question_id": str(row["question_id"]), "scene_id": scene}
        answers.append({**head, "text": row["answers"][0], "video": scene, "type": kind})
        questions.append(
            {**head, "text": _text(row), "answers": row["answers"], "video": scene, "type": kind}
        )
    return {
        "llava3d_sqa3d_test_answer.json": answers,
        "llava3d_sqa3d_test_question.json": questions,
    }


def pair(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions beside the authors' answer file, line by line."""
    items = []
    for prediction, row in in_order(predictions, references):
        where = f"reference of question {prediction.id!r}"
        answer, kind = text(row, "text", where), KINDS[int(row.get("type", 5))]
        items.append(
            Item(
                prediction.id,
                str(row.get("scene_id", prediction.id)),
                prediction.text,
                (answer,),
                labels=(kind,),
            )
        )
    return items


_LOWER = tuple(kind.lower() for kind in KINDS[:-1])


def _kind(question: str) -> int:
    """The authors' number of a kind."""
    first = question.split(" ")[0]
    return KINDS.index(first) if first in KINDS else KINDS.index("Other")


def _text(row: dict[str, Any]) -> str:
    return f"{row['situation']} {row['question']}"


def _rows(files: Files) -> list[dict[str, Any]]:
    """Questions with their answers, from either layout."""
    lists = [content for content in files.values() if isinstance(content, list)]
    if len(files) == 1 and lists:
        return [_checked(row) for row in lists[0]]
    parts: dict[str, Any] = {}
    for content in files.values():
        parts |= {
            name: content[name]
            for name in ("questions", "annotations")
            if isinstance(content, dict) and name in content
        }
    if set(parts) != {"questions", "annotations"}:
        raise RecordError(
            f"SQA3D needs its questions and its annotations: {_WHAT}; got {', '.join(files)}"
        )
    answers = {row["question_id"]: row for row in parts["annotations"]}
    rows = []
    for question in parts["questions"]:
        found = answers.get(question["question_id"])
        if found is None:
            raise RecordError(
                f"question {question['question_id']} has no annotation; give both files of one "
                "split"
            )
        place = [found["position"][axis] for axis in "xyz"] + [
            found["rotation"][f"_{axis}"] for axis in "xyzw"
        ]
        wanted = [answer["answer"] for answer in found["answers"]]
        rows.append(_checked({**question, "answers": wanted, "position": place}))
    return rows


def _checked(row: Any) -> dict[str, Any]:
    for name in ("question_id", "scene_id", "situation", "question"):
        text(row, name, "question")
    if not field(row, "answers", "question"):
        raise RecordError(f"question {row['question_id']} has no answers")
    return dict(row)


@register_task("sqa3d")
def sqa3d() -> Task:
    """SQA3D."""
    return Task(
        name="sqa3d",
        title="SQA3D",
        splits={"train": 26_623, "val": 3_261, "test": 3_519},
        tested_on="test",
        channel="scene3d",
        annotations=_WHAT,
        prompt=Prompt(),
        examples=examples,
        score=matches,
        authors_files=authors_files,
        pair=pair,
        max_new_tokens=32,
    )
