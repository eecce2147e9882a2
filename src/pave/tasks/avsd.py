"""AVSD: dialogue about a video with sound (DSTC7 and DSTC10).

The last answer has the scores of a caption. The videos are those of Charades. Test: the
single-reference DSTC7 set in DSTC10's mock format, one dialogue a video; all earlier rounds, with
their true answers, are the history. The authors train on pieces of five rounds and drop a shorter
rest; by default the rest is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pave.errors import RecordError
from pave.tasks.pairing import field, text
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import captions
from pave.tasks.task import Example, Files, Item, Prediction, Style, Task, only_file, videos
from pave.texts import counted

Round = tuple[str, str]
"""A question and its answer."""
ROUNDS = 5
"""Rounds of a training example."""
UNDISCLOSED = "__UNDISCLOSED__"
"""What the challenge writes in place of an answer that it keeps to itself."""
_WHAT = "train: avsd_train.json; test: mock_test_set4DSTC10-AVSD_from_DSTC7_singref.json"
# The authors copy this header from COCO's captions_val2014.json; the scorer does not read it.
_HEADER = {
    "info": {
        "description": "This is stable 1.0 version of the 2014 MS COCO dataset.",
        "version": "1.0",
        "year": 2014,
    },
    "licenses": [{"id": 3, "name": "Attribution-NonCommercial-NoDerivs License"}],
    "type": "captions",
}
# Every image of theirs is this one.
_IMAGE = {"license": 3, "file_name": "COCO_val2014_000000391895.jpg", "width": 640, "height": 360}
_IMAGE |= {
    "url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
    "date_captured": "2013-11-14 11:18:45",
}


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """Dialogues: pieces of five rounds for training, whole ones for testing."""
    content = only_file(files, _WHAT)
    if _is_test(content):
        return [_tested(dialogue) for dialogue in content["dialogs"]]
    found = []
    for video, number, rounds in _pieces(content, keep_rest=style == "default"):
        example = Example(
            id=f"{video}_{number}",
            video_id=video,
            video=videos(video),
            turns=tuple(rounds),
            feature=(f"{video}.pt",),
        )
        found.append(example)
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`avsd_train_instruct.json`, or the references in COCO's format for the test set."""
    content = only_file(files, _WHAT)
    if _is_test(content):
        return {"coco_version_test_gt.json": _coco(content["dialogs"])}
    samples = []
    for video, number, rounds in _pieces(content, keep_rest=False):
        turns = []
        for question, answer in rounds:
            turns.append({"from": "human", "value": question})
            turns.append({"from": "gpt", "value": answer})
        # The video stands before the first question alone.
        turns[0]["value"] = f"<image>\n{turns[0]['value']}"
        sample = {"id": f"{video}_{number}", "conversations": turns, "video": f"{video}.mp4"}
        samples.append(sample)
    return {"avsd_train_instruct.json": samples}


def pair(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions and references by video, as COCO's scorer pairs them.

    Only predicted videos count; one may have several references.
    """
    wanted: dict[str, list[str]] = {}
    for number, row in enumerate(field(references, "annotations", "references"), 1):
        where = f"reference {number}"
        wanted.setdefault(text(row, "image_id", where), []).append(text(row, "caption", where))
    names = [prediction.id for prediction in predictions]
    unknown = [name for name in names if name not in wanted]
    if unknown:
        raise RecordError(
            f"{counted(len(unknown), 'prediction')} without a reference, the first is "
            f"{unknown[0]!r}; check that this is the right file"
        )
    if len(set(names)) < len(names):
        raise RecordError(
            "a video has two predictions, but AVSD's test set asks one question per video"
        )
    items = []
    for prediction in predictions:
        accepted = tuple(wanted[prediction.id])
        items.append(Item(prediction.id, prediction.id, prediction.text, accepted))
    return items


def _is_test(content: Any) -> bool:
    """Whether a file is in the challenge's format of the test set."""
    return isinstance(content, dict) and "dialogs" in content


def _pieces(content: Any, *, keep_rest: bool) -> list[tuple[str, int, list[Round]]]:
    """(video, number, rounds) of each piece of a training file.

    A dialogue has ten rounds, so a rest is rare: it is there where annotators stopped early.
    """
    if not isinstance(content, dict):
        raise RecordError(
            "AVSD's training file maps videos to dialogues ({video: {data: [...]}}); this is "
            "another file"
        )
    pieces = []
    for video, entry in content.items():
        rounds = _rounds(entry, "data", f"video {video}")
        for number, start in enumerate(range(0, len(rounds), ROUNDS)):
            piece = rounds[start : start + ROUNDS]
            if len(piece) == ROUNDS or keep_rest:
                pieces.append((video, number, piece))
    return pieces


def _tested(dialogue: Any) -> Example:
    """The last question of a test dialogue, behind the true history."""
    video = text(dialogue, "image_id", "dialogue")
    *earlier, (question, answer) = _rounds(dialogue, "dialog", f"video {video}")
    # Scored against this word, every answer would be wrong and nobody would know why.
    if answer == UNDISCLOSED:
        raise RecordError(f"video {video}: the answer is not disclosed; use the file with answers")
    return Example(
        id=video,
        video_id=video,
        video=videos(video),
        turns=(*earlier, (question, None)),
        answers=(answer,),
        feature=(f"{video}.pt",),
    )


def _rounds(dialogue: Any, name: str, where: str) -> list[Round]:
    """Questions and answers of a dialogue."""
    turns = field(dialogue, name, where)
    return [(text(turn, "question", where), text(turn, "answer", where)) for turn in turns]


def _coco(dialogues: Any) -> dict[str, Any]:
    """The references in the format of COCO's captions, as the authors' script writes them."""
    annotations, images = [], []
    # Numbered from 0 in the order of the file, as in theirs.
    for number, dialogue in enumerate(dialogues):
        video, answer = dialogue["image_id"], dialogue["dialog"][-1]["answer"]
        annotations.append({"image_id": video, "id": number, "caption": answer})
        images.append({**_IMAGE, "id": video})
    return {**_HEADER, "annotations": annotations, "images": images}


@register_task("avsd")
def avsd() -> Task:
    """AVSD."""
    return Task(
        name="avsd",
        title="AVSD",
        splits={"train": 7_659, "val": 1_787, "test": 1_710},
        tested_on="test",
        channel="audio",
        annotations=_WHAT,
        prompt=Prompt(),  # the question and nothing else
        examples=examples,
        score=captions,
        authors_files=authors_files,
        pair=pair,
        max_new_tokens=64,  # answers are sentences
    )
