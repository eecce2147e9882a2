"""AVSD: dialogue about a video with sound (DSTC7 and DSTC10). Charades videos; caption scores of the last answer.

Test: the single-reference DSTC7 set in DSTC10's mock format, one dialogue a video; all earlier
rounds, with their true answers, are the history. The authors train on pieces of five rounds and
drop a shorter rest; by default the rest is kept.
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

ROUNDS = 5
UNDISCLOSED = "__UNDISCLOSED__"
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
_IMAGE = {"license": 3, "file_name": "COCO_val2014_000000391895.jpg", "width": 640, "height": 360}
_IMAGE |= {
    "url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
    "date_captured": "2013-11-14 11:18:45",
}


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """Dialogues: pieces of five rounds for training, whole ones for testing."""
    content = only_file(files, _WHAT)
    if isinstance(content, dict) and "dialogs" in content:
        return [_tested(dialogue) for dialogue in content["dialogs"]]
    return [
        Example(f"{video}_{place}", video, videos(video), tuple(rounds), feature=_feature(video))
        for video, place, rounds in _pieces(content, keep_rest=style == "default")
    ]


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`avsd_train_instruct.json`, or the references in COCO's format for the test set."""
    content = only_file(files, _WHAT)
    if isinstance(content, dict) and "dialogs" in content:
        return {"coco_version_test_gt.json": _coco(content["dialogs"])}
    rows = []
    for video, place, rounds in _pieces(content, keep_rest=False):
        turns = [
            {"from": who, "value": text}
            for pair in rounds
            for who, text in zip(("human", "gpt"), pair, strict=True)
        ]
        turns[0] = {**turns[0], "value": f"<image>\n{turns[0]['value']}"}
        rows.append({"id": f"{video}_{place}", "conversations": turns, "video": f"{video}.mp4"})
    return {"avsd_train_instruct.json": rows}


def pair(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions and references by video, as COCO's scorer pairs them.

    Only predicted videos count; one may have several references.
    """
    wanted: dict[str, list[str]] = {}
    for number, row in enumerate(field(references, "annotations", "references"), 1):
        where = f"reference {number}"
        wanted.setdefault(text(row, "image_id", where), []).append(text(row, "caption", where))
    unknown = [prediction.id for prediction in predictions if prediction.id not in wanted]
    if unknown:
        raise RecordError(
            f"{len(unknown)} predictions have no reference, the first is {unknown[0]!r}; is this "
            "the right file?"
        )
    names = [prediction.id for prediction in predictions]
    if len(set(names)) < len(names):
        raise RecordError("a video has two predictions; AVSD's test set asks one question a video")
    return [Item(p.id, p.id, p.text, tuple(wanted[p.id])) for p in predictions]


def _pieces(content: Any, *, keep_rest: bool) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """(video, number, rounds) of each piece of a training file."""
    if not isinstance(content, dict):
        raise RecordError(
            "AVSD's training file maps videos to dialogues ({video: {data: [...]}}); this is "
            "another file"
        )
    pieces = []
    for video, entry in content.items():
        rounds = _rounds(entry, "data", f"video {video}")
        count = -(-len(rounds) // ROUNDS) if keep_rest else len(rounds) // ROUNDS
        pieces += [
            (video, place, rounds[place * ROUNDS : (place + 1) * ROUNDS]) for place in range(count)
        ]
    return pieces


def _tested(dialogue: Any) -> Example:
    video = text(dialogue, "image_id", "dialogue")
    rounds = _rounds(dialogue, "dialog", f"video {video}")
    question, answer = rounds[-1]
    if answer == UNDISCLOSED:
        raise RecordError(f"video {video}: the answer is not disclosed; use the file with answers")
    turns: tuple[tuple[str, str | None], ...] = (*rounds[:-1], (question, None))
    return Example(video, video, videos(video), turns, answers=(answer,), feature=_feature(video))


def _rounds(dialogue: Any, name: str, where: str) -> list[tuple[str, str]]:
    """Questions and answers of a dialogue."""
    return [
        (text(turn, "question", where), text(turn, "answer", where))
        for turn in field(dialogue, name, where)
    ]


def _feature(video: str) -> tuple[str, ...]:
    return (f"{video}.pt",)


def _coco(dialogues: Any) -> dict[str, Any]:
    rows = [(dialogue["image_id"], dialogue["dialog"][-1]["answer"]) for dialogue in dialogues]
    annotations = [
        {"image_id": video, "id": place, "caption": answer}
        for place, (video, answer) in enumerate(rows)
    ]
    return {
        **_HEADER,
        "annotations": annotations,
        "images": [{**_IMAGE, "id": video} for video, _ in rows],
    }


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
        prompt=Prompt(),
        examples=examples,
        score=captions,
        authors_files=authors_files,
        pair=pair,
        max_new_tokens=64,
    )
