"""Music-AVQA: short answers about music videos, from 42 words. Tested on test, accuracy by kind.

| | default | authors |
|---|---|---|
| training records | each once | those about sound (Audio and Audio-Visual) twice in a row |
| right if | its word is said, "2" is "two", "none" zero | it is anywhere, "no" in "piano" too |

Questions are templates; `<Object>` and its like are filled from `templ_values` in order. There are
two public test files: json/avqa-test.json has 9,185 questions, json_update 9,129, and results on
them differ.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from pave.errors import RecordError
from pave.metrics import final_text
from pave.tasks.pairing import as_text, field, in_order, text
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import NUMBERS, accuracy, contains, plain
from pave.tasks.task import (
    Example,
    Files,
    Item,
    Prediction,
    Style,
    Task,
    authors_sample,
    only_file,
    videos,
)
from pave.texts import counted, parse_json

_NAMES = (
    "accordion acoustic_guitar bagpipe banjo bassoon cello clarinet congas drum electric_bass erhu "
    "flute guzheng piano pipa saxophone suona trumpet tuba ukulele violin xylophone"
)
INSTRUMENTS = tuple(_NAMES.split())
_OTHERS = (
    "more than ten",
    "yes",
    "no",
    "left",
    "middle",
    "right",
    "indoor",
    "outdoor",
    "simultaneously",
)
ANSWERS = (*INSTRUMENTS, *NUMBERS, *_OTHERS)
"""The 42 answers of the data set."""
REAL = "MUSIC-AVQA-videos-Real"
SYNTHETIC = "MUCIS-AVQA-videos-Synthetic"
"""Spelt so in the data set."""
_WHAT = "avqa-train.json, avqa-val.json or avqa-test.json, or the authors' updated_ ones"
_TEMPLATE = re.compile(r"<(.*?)>")
_KNOWN = sorted((plain(word) for word in ANSWERS), key=len, reverse=True)
# The longest first, so that "ten" is not seen in "more than ten"; "indoors" and "violins" count.
_MENTION = re.compile(rf"\b({'|'.join(_KNOWN)})s?\b")

# "More than ten" is an answer of its own; other bounds, and what is denied, count nothing.
_OVER_TEN = re.compile(r"\b(?:over|above) ten\b")
_COUNT = rf"(?:{'|'.join(NUMBERS)})"
_BOUND = re.compile(
    rf"\b(?:(?:less|fewer) than|not|more than(?! ten\b)) {_COUNT}\b"
    rf"|\b{_COUNT} or (?:more|less|fewer)\b"
)


def fill(question: str, values: Sequence[str]) -> str:
    """A question with its templates filled in order.

    A value that looks like a template stays as it is.

    Raises:
        RecordError: If there are more or fewer values than templates.

    Example:
        >>> fill("Is the <Object> louder than the <Object>?", ["flute", "drum"])
        'Is the flute louder than the drum?'
    """
    templates = _TEMPLATE.findall(question)
    if len(templates) != len(values):
        raise RecordError(
            f"{counted(len(templates), 'template')} but {counted(len(values), 'value')} in the "
            f"question {question!r}; check the annotation file"
        )
    for template, value in zip(templates, values, strict=True):  # each the first that is left
        question = question.replace(f"<{template}>", value, 1)
    return question


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record."""
    found = []
    for row in _filled(files):
        # Copies have one name here; `convert` numbers names that repeat.
        found += [_example(row)] * _copies(row, split, style)
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`updated_avqa-*.json` with filled templates, and for training the file of conversations."""
    ((name, _),) = files.items()  # its name says whether its templates are filled
    rows = _filled(files)
    made: dict[str, Any] = {}
    if not _is_filled(name):
        made[f"updated_{name}"] = rows
    if split == "train":
        samples = []
        for row in rows:
            question, answer = row["question_content"], row["anser"]
            sample = authors_sample(row["question_id"], row["video_id"], question, answer)
            samples += [sample] * _copies(row, split, "authors")
        made["music_avqa_train_instruct_duplicate_audio.json"] = samples
    return made


def pair(predictions: Sequence[Prediction], references: Any) -> list[Item]:
    """Predictions beside annotations, line by line.

    The answer is the predictions file's where it has one, as in the authors' script.
    """
    items = []
    # Their predictions name videos, so there is no question's name to check.
    for number, (prediction, row) in enumerate(in_order(predictions, references, key=""), 1):
        answer = prediction.row.get("answer", row.get("anser"))  # spelt so in the data set
        if answer is None:
            raise RecordError(
                f"line {number}: neither the prediction nor the reference has an answer"
            )
        item = Item(
            id=str(row.get("question_id", number)),
            cluster=prediction.id,
            prediction=prediction.text,
            references=(as_text(answer, f"line {number}: the answer"),),
            labels=_labels(row),
        )
        items.append(item)
    return items


def _parse(item: Item, style: Style) -> str:
    """The prediction in lower case; by default the answer words in it."""
    if style == "authors":
        return item.prediction.lower()
    words = plain(final_text(item.prediction).replace(">", " more than "))
    words = _BOUND.sub(" ", _OVER_TEN.sub("more than ten", words))
    # "There are none." answers how many.
    return ", ".join(_MENTION.findall(re.sub(r"\bnone\b", "zero", words)))


def _right(item: Item, parsed: str, style: Style) -> bool:
    """Whether the answer is in the prediction: as a word, or in the authors' style anyhow."""
    if style == "authors":
        return item.references[0].lower() in parsed
    wanted = plain(item.references[0])
    if wanted in parsed.split(", "):
        return True
    # An answer outside the 42 words, which predictions are not searched for.
    return wanted not in _KNOWN and contains(final_text(item.prediction), wanted)


def _is_filled(name: str) -> bool:
    """Whether a file's templates are filled: the authors' own files are called so."""
    return name.startswith("updated_")


def _filled(files: Files) -> list[dict[str, Any]]:
    """The questions, templates filled unless the file's name says that they are."""
    content = only_file(files, _WHAT)
    if _is_filled(next(iter(files))):
        return list(content)
    rows = []
    for row in content:
        template = text(row, "question_content", "question")
        values = parse_json(row.get("templ_values", "[]"))
        rows.append({**row, "question_content": fill(template, values)})
    return rows


def _copies(row: dict[str, Any], split: str, style: Style) -> int:
    """How often a row is trained on: the authors' way to give sound its weight."""
    if style == "authors" and split == "train" and "Audio" in row["type"]:
        return 2
    return 1


def _labels(row: Any) -> tuple[str, ...]:
    """("Audio", "Audio Counting") of '["Audio", "Counting"]'."""
    # The list stands in the file as a text, in Python's notation.
    modality, kind = ast.literal_eval(field(row, "type", "annotation"))[:2]
    return modality, f"{modality} {kind}"


def _example(row: dict[str, Any]) -> Example:
    """A row of the annotation file as an example; its misspelt key is the data set's own."""
    where = f"question {text(row, 'question_id', 'question')}"
    video, answer = text(row, "video_id", where), text(row, "anser", where)
    # Real videos are numbered; synthetic ones have names, with letters first.
    folder = REAL if video[:1].isdigit() else SYNTHETIC
    return Example(
        id=str(row["question_id"]),
        video_id=video,
        video=videos(f"{folder}/{video}", video),
        turns=((text(row, "question_content", where), answer),),
        answers=(answer,),
        labels=_labels(row),
        feature=(f"{folder}_audio_imagebind_feat/{video}.pt", f"{video}.pt"),
    )


@register_task("music-avqa")
def music_avqa() -> Task:
    """Music-AVQA."""
    return Task(
        name="music-avqa",
        title="Music-AVQA",
        splits={"train": 32_087, "val": 4_595, "test": 9_185},
        tested_on="test",
        channel="audio",
        annotations=_WHAT,
        prompt=Prompt(),  # the question and nothing else
        examples=examples,
        score=accuracy(_parse, _right),
        authors_files=authors_files,
        pair=pair,
    )
