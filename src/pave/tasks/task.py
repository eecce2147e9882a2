"""What a task is: how annotations become examples, and how predictions are scored.

A task is a value, not a class to inherit from: each benchmark's module makes one `Task`, and
`pave.tasks.register_task` makes it known by its name.

Two styles run through everything. `default` does what is sensible; `authors` does what the PAVE
authors' scripts do, to the letter, so that their numbers can be reproduced. Where they differ is in
the documentation of each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pave.data import Record
from pave.errors import RecordError
from pave.tasks.prompt import Prompt

Style = Literal["default", "authors"]
Files = Mapping[str, Any]
"""Annotation files, parsed, by name: `{"avsd_train.json": {...}}`."""
Labels = tuple[str, ...]
"""Rows of the score table that an item counts in, the widest first: ("Audio", "Audio Counting")."""


@dataclass(frozen=True)
class Example:
    """One example before its media are looked up.

    Attributes:
        id: Name of the example; `pave prepare` makes names unique where annotations repeat them.
        video_id: Name of the video, the unit that statistics resample.
        video: Where the video may be below the media folder, best guess first.
        turns: Questions as the model reads them (prompt included), and answers.
        answers: Accepted answers of the last turn.
        options: The options' texts of a multiple-choice question.
        labels: Rows of the score table that the example counts in, e.g. ("Audio", "Audio
            Counting").
        views: Where the videos of other cameras may be; empty where the channel is in the video
            itself.
        feature: Where precomputed features of the example may be below the features folder.
        meta: Anything else worth keeping.
    """

    id: str
    video_id: str
    video: tuple[str, ...]
    turns: tuple[tuple[str, str | None], ...]
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    labels: Labels = ()
    views: tuple[tuple[str, ...], ...] = ()
    feature: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One prediction beside what counts as right: what every task scores.

    Attributes:
        id: Name of the question.
        cluster: Its video, the unit that statistics resample.
        prediction: What the model answered.
        references: Accepted answers; the letter for a multiple-choice question.
        options: Texts of the options.
        labels: Rows of the score table that it counts in.
    """

    id: str
    cluster: str
    prediction: str
    references: tuple[str, ...]
    options: tuple[str, ...] = ()
    labels: Labels = ()


@dataclass(frozen=True)
class Scored:
    """The scores of a set of items.

    Attributes:
        scores: Over all items; None for one that could not be computed.
        columns: Scores of each item, by name; those whose mean over the items is the score of the
            same name in `scores`. BLEU and METEOR pool statistics, are no means, and have none.
        details: What else there is to say of each item, such as its cleaned strings.
        notes: What made the scores, and warnings.
        table: The scores that papers print, in their order.
    """

    scores: Mapping[str, float | None]
    columns: Mapping[str, Sequence[float]]
    details: Sequence[Mapping[str, Any]]
    notes: Mapping[str, str] = field(default_factory=dict)
    table: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """One line of a predictions file, whatever its author called the fields."""

    id: str
    text: str
    row: Mapping[str, Any]


def given_labels(records: Sequence[Record]) -> list[Labels]:
    """The labels that `pave prepare` wrote into the records."""
    return [record_labels(record) for record in records]


def record_labels(record: Record) -> Labels:
    """The labels of one record.

    Raises:
        RecordError: If they are no list.
    """
    labels = record.meta.get("labels", [])
    if not isinstance(labels, list):
        raise RecordError(
            f"record {record.id!r}: meta.labels is {labels!r}; it must be a list of rows of the "
            "score table"
        )
    return tuple(map(str, labels))


@dataclass(frozen=True)
class Task:
    """A benchmark, or another way to score answers.

    Attributes:
        name: What commands call it.
        title: What papers call it.
        splits: Split -> number of annotated examples, None where nobody has counted.
        tested_on: The split that the paper reports; empty for data that is only trained on.
        channel: The side channel of the paper's patch.
        annotations: Which files to hand over, in words.
        prompt: What the model reads.
        examples: Annotation files, split, style -> examples; None for a task that scores any
            records and makes none.
        score: Items, style -> scores; None for data that is only trained on.
        authors_files: Annotation files, split -> the files that the authors' scripts make of them,
            by their names.
        pair: Predictions, reference file -> items, for predictions in the authors' format; None
            where they have none.
        self_contained: Whether such predictions carry their right answers themselves, so that no
            reference file is needed.
        max_new_tokens: Longest answer worth waiting for.
        conversations: Whether its own annotations are lists of conversations, as the authors'
            training files are.
        labels: Records -> the rows of the score table that each counts in.
        nested: Whether the table lists a label's parts right below it; otherwise all first labels
            come first.
        judge: Prediction, accepted answers -> whether it is right, for a task whose one score is
            the share of right answers. An evaluation then says so in each line, and every row of
            the table gets Wilson's interval.
    """

    name: str
    title: str
    splits: Mapping[str, int | None]
    tested_on: str
    channel: str
    annotations: str
    prompt: Prompt
    examples: Callable[[Files, str, Style], list[Example]] | None
    score: Callable[[Sequence[Item], Style], Scored] | None = None
    authors_files: Callable[[Files, str], dict[str, Any]] | None = None
    pair: Callable[[Sequence[Prediction], Any], list[Item]] | None = None
    self_contained: bool = False
    max_new_tokens: int = 16
    conversations: bool = False
    labels: Callable[[Sequence[Record]], list[Labels]] = given_labels
    nested: bool = False
    judge: Callable[[str, Sequence[str]], bool] | None = None


def only_file(files: Files, what: str) -> Any:
    """The content of the one annotation file.

    Raises:
        RecordError: If there are several.
    """
    if len(files) != 1:
        raise RecordError(
            f"give one annotation file ({what}), got {len(files)}: {', '.join(files)}"
        )
    return next(iter(files.values()))


def authors_sample(name: Any, video: Any, question: str, answer: str) -> dict[str, Any]:
    """One question and its answer as the authors' training files write them.

    Their collator cuts the text at `<image>` and puts the video's tokens there.
    """
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": name, "conversations": turns, "video": video}


# The last one stands for a video whose annotated name has its suffix already, and for a folder of
# frames.
_SUFFIXES = (".mp4", ".MP4", ".mkv", ".webm", ".avi", "")


def videos(*stems: str) -> tuple[str, ...]:
    """The names under which a video may lie.

    Example:
        >>> videos("a")[:2]
        ('a.mp4', 'a.MP4')
    """
    return tuple(stem + suffix for stem in stems for suffix in _SUFFIXES)
