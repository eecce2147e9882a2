"""What a task is: a benchmark's annotations turned into examples, its prompt, and how its answers are scored.

A task is a value, not a class to inherit from: each benchmark's module fills in one `Task`.
`pave.tasks.get_task` finds it.

Two styles run through everything. `default` does what is sensible; `authors` does what the PAVE
authors' scripts do, to the letter, so that their numbers can be reproduced. Where they differ is in
the documentation of each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pave.errors import RecordError
from pave.tasks.prompt import Prompt

Style = Literal["default", "authors"]
Files = Mapping[str, Any]
"""Annotation files, parsed, by name: `{"avsd_train.json": {...}}`."""


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
        views: Where the videos of other cameras may be; empty where the channel is heard or seen in
            the video itself.
        feature: Where precomputed features of the example may be below the features folder.
        meta: Anything else worth keeping.
    """

    id: str
    video_id: str
    video: tuple[str, ...]
    turns: tuple[tuple[str, str | None], ...]
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    views: tuple[tuple[str, ...], ...] = ()
    feature: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One answer to be scored.

    Attributes:
        id: Name of the question.
        cluster: Its video.
        prediction: What the model said.
        references: Accepted answers; the letter for a multiple-choice question.
        options: Texts of the options.
        labels: Rows of the score table that it counts in.
    """

    id: str
    cluster: str
    prediction: str
    references: tuple[str, ...]
    options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """The scores of a set of items.

    Attributes:
        scores: Over all items; None for one that could not be computed.
        columns: Scores of each item, by name; those whose mean over the items is the score of the
            same name in `scores`.
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


@dataclass(frozen=True)
class Task:
    """A benchmark.

    Attributes:
        name: What commands call it.
        title: What papers call it.
        splits: Split -> number of annotated examples, None where nobody has counted.
        tested_on: The split that the paper reports; empty for data that is only trained on.
        channel: The side channel of the paper's patch.
        annotations: Which files to hand over, in words.
        prompt: What the model reads.
        examples: Annotation files, split, style -> examples.
        score: Items, style -> scores; None for data that is only trained on.
        authors_files: Annotation files, split -> the files that the authors' scripts make of them,
            by their names.
        pair: Predictions, reference file -> items, for predictions in the authors' format; None
            where they have none.
        max_new_tokens: Longest answer worth waiting for.
        conversations: Whether its own annotations are lists of conversations, as the authors'
            training files are.
    """

    name: str
    title: str
    splits: Mapping[str, int | None]
    tested_on: str
    channel: str
    annotations: str
    prompt: Prompt
    examples: Callable[[Files, str, Style], list[Example]]
    score: Callable[[Sequence[Item], Style], Scored] | None = None
    authors_files: Callable[[Files, str], dict[str, Any]] | None = None
    pair: Callable[[Sequence[Prediction], Any], list[Item]] | None = None
    max_new_tokens: int = 16
    conversations: bool = False


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


def conversation(question: str, answer: str) -> list[dict[str, str]]:
    """One question and its answer as the authors' training files write them."""
    return [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]


def videos(*stems: str) -> tuple[str, ...]:
    """The names under which a video may lie."""
    return tuple(
        f"{stem}{ending}"
        for stem in stems
        for ending in (".mp4", ".MP4", ".mkv", ".webm", ".avi", "")
    )
