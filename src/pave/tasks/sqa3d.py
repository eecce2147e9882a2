"""SQA3D: questions about a ScanNet room from a described place in it. Tested on test.

Scores are EM@1 and refined EM@1, by first word.

| | default | authors |
|---|---|---|
| accepted answers | all of a question | the first one |
| kind of a question | its first word, in any case | as written: "what" is Other |
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
from pave.tasks.task import Example, Files, Item, Prediction, Style, Task, authors_sample

KINDS = ("What", "Is", "How", "Can", "Which", "Other")
"""First words by which the paper splits its results; their places are the authors' numbers."""
_LOWER = tuple(kind.lower() for kind in KINDS[:-1])
_WHAT = (
    "v1_balanced_questions_*_scannetv2.json and v1_balanced_sqa_annotations_*_scannetv2.json, or "
    "SQA_train.json / SQA_test.json"
)


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record: the situation, a space, the question."""
    found = []
    for row in _rows(files):
        answers = texts(row, "answers", f"question {row['question_id']}")
        accepted = answers
        kind = kind_of(row["question"], _LOWER).capitalize()
        if style == "authors":
            # Their answer file keeps the first one alone.
            accepted = answers[:1]
            kind = KINDS[_kind(row["question"])]
        scene = str(row["scene_id"])
        # Where somebody stands and looks, x, y, z and a quaternion; the single file has none.
        meta = {"position": row["position"]} if "position" in row else {}
        example = Example(
            id=str(row["question_id"]),
            video_id=scene,
            video=scene_folders(scene),
            turns=((_text(row), answers[0]),),
            answers=accepted,
            labels=(kind,),
            feature=scene_features(scene),
            meta=meta,
        )
        found.append(example)
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`SQA_train_instruct.json`, or the answer and question files of the test set."""
    rows = _rows(files)
    if split == "train":
        samples = []
        for row in rows:
            name, scene = str(row["question_id"]), row["scene_id"]
            samples.append(authors_sample(name, scene, _text(row), row["answers"][0]))
        return {"SQA_train_instruct.json": samples}
    answers, questions = [], []
    for row in rows:
        scene, accepted = row["scene_id"], row["answers"]
        head = {"question_id": str(row["question_id"]), "scene_id": scene}
        tail = {"video": scene, "type": _kind(row["question"])}
        answers.append({**head, "text": accepted[0], **tail})
        questions.append({**head, "text": _text(row), "answers": accepted, **tail})
    return {
        "llava3d_sqa3d_test_answer.json": answers,
        "llava3d_sqa3d_test_question.json": questions,
    }


def pair(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions beside the authors' answer file, line by line."""
    items = []
    for prediction, row in in_order(predictions, references):
        # A file that gives no kinds is scored as a whole: all are Other.
        kind = KINDS[int(row.get("type", KINDS.index("Other")))]
        item = Item(
            id=prediction.id,
            cluster=str(row.get("scene_id", prediction.id)),
            prediction=prediction.text,
            references=(text(row, "text", f"reference of question {prediction.id!r}"),),
            labels=(kind,),
        )
        items.append(item)
    return items


def _kind(question: str) -> int:
    """The authors' number of a kind: by the text before the first space, in its very case."""
    first = question.split(" ")[0]
    if first in KINDS:
        return KINDS.index(first)
    return KINDS.index("Other")


def _text(row: dict[str, Any]) -> str:
    """What the model reads: where somebody is, and then the question."""
    return f"{row['situation']} {row['question']}"


def _rows(files: Files) -> list[dict[str, Any]]:
    """Questions with their answers, from either layout."""
    contents = list(files.values())
    if len(contents) == 1 and isinstance(contents[0], list):  # the authors' single file
        return [_checked(row) for row in contents[0]]
    parts: dict[str, Any] = {}
    for content in contents:
        for name in ("questions", "annotations"):
            if isinstance(content, dict) and name in content:
                parts[name] = content[name]
    if set(parts) != {"questions", "annotations"}:
        raise RecordError(
            f"SQA3D needs its questions and its annotations: {_WHAT}; got {', '.join(files)}"
        )
    # The data set keeps questions and answers apart, in the manner of VQA.
    annotations = {row["question_id"]: row for row in parts["annotations"]}
    rows = []
    for question in parts["questions"]:
        found = annotations.get(question["question_id"])
        if found is None:
            raise RecordError(
                f"question {question['question_id']} has no annotation; give both files of the "
                "same split"
            )
        accepted = [answer["answer"] for answer in found["answers"]]
        row = {**question, "answers": accepted, "position": _position(found)}
        rows.append(_checked(row))
    return rows


def _position(annotation: dict[str, Any]) -> list[float]:
    """Place and direction in the room: x, y, z, and a quaternion x, y, z, w."""
    place, turn = annotation["position"], annotation["rotation"]
    return [place["x"], place["y"], place["z"], turn["_x"], turn["_y"], turn["_z"], turn["_w"]]


def _checked(row: Any) -> dict[str, Any]:
    """A question with all that an example is made of."""
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
        max_new_tokens=32,  # answers are a word or two
    )
