"""`prepare`: a benchmark's annotation files and media -> a records file.

What was missing is accounted for, in a summary beside the records.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pave.arguments import as_kind, as_list_of
from pave.data import Record, Turn, write_records
from pave.errors import ConfigError, RecordError, first_problem
from pave.files import sha256_of, write_text_atomically
from pave.paper.annotations import are_samples, check_mapping, parse_samples, video_id
from pave.tasks.files import annotation_files, read_annotations, read_json
from pave.tasks.media import Finder, Folders, Found, Place, side_folders, wanted_channels
from pave.tasks.pairing import in_format
from pave.tasks.task import Example, Files, Style, Task, videos
from pave.texts import counted


class Summary(BaseModel):
    """What `prepare` did, kept beside the records as `<name>.summary.json`."""

    model_config = ConfigDict(frozen=True)

    task: str
    split: str
    style: str
    prompt: str = Field(description="Hash of the prompt template.")
    annotations: dict[str, str] = Field(description="Annotation file -> SHA-256.")
    expected: int | None = Field(
        description="Number of examples in the published split; null if it is unknown."
    )
    converted: int = Field(description="Number of examples read from the annotation files.")
    written: int = Field(description="Records written.")
    left_out: int = Field(
        description="Examples left out because their video (in the authors' style: any medium) is "
        "missing."
    )
    without_channel: int = Field(
        description="Records written without the channel because its media are missing."
    )
    missing: list[str] = Field(
        description="Every missing file, listed once with the first place where it was looked for."
    )
    labels: dict[str, int] = Field(description="Records by label.")


@dataclass(frozen=True)
class Prepared:
    """Records, not yet written, and the account of them."""

    records: list[Record]
    summary: Summary


def prepare(  # noqa: PLR0913  # one keyword for each flag of `pave prepare`
    task: Task,
    annotations: Sequence[str | os.PathLike[str]],
    media: str | os.PathLike[str],
    split: str,
    *,
    style: Style = "default",
    features: Place | None = None,
    authors_features: Place | Mapping[str, Place] | None = None,
    channels: Sequence[str] = (),
    video_map: Place | None = None,
    feature_map: Place | None = None,
) -> Prepared:
    """Turn annotation files into records.

    A record's question is the text that the model reads after the video, prompt included.

    Args:
        task: The benchmark.
        annotations: Its annotation files or the authors' training file of it, or a folder of them.
        media: Folder of the videos.
        split: One of the task's splits.
        style: What to do where the authors' scripts do something odd.
        features: Folder of precomputed features; the records then name the channel `features`
            instead of the task's own.
        authors_features: Folder of the authors' features, which the records name as the task's own
            channel for the encoder `official`; or a folder for each of several channels.
        channels: What the records name, the task's own channel when not given. "audio" and "frames"
            are in every video.
        video_map: The authors' mapping file of videos, relative to `media`.
        feature_map: Their mapping file of features, relative to the folder of features.

    Raises:
        ConfigError: If the task has no such split, a folder is not there or given twice, or a
            channel cannot be had.
        RecordError: If the annotation files cannot be read as the task's, or a mapping file is
            none.
    """
    # First of all: a task that makes no records would complain of its splits.
    _examples_of(task)
    if split not in task.splits:
        raise ConfigError(
            f"{task.title} has no split {split!r}; available: {', '.join(task.splits)}"
        )
    sides = side_folders(task, features, authors_features, feature_map)
    folders = Folders(Path(media), sides, wanted_channels(task, sides, channels))
    folders.check(task.title)
    examples = convert(task, read_annotations(annotations), split, style)
    examples = _placed(examples, _mapping(video_map), _mapping(feature_map))

    finder = Finder(folders)
    about = {"task": task.name, "split": split, "style": style, "prompt": task.prompt.hash}
    records, without_channel = _found(examples, finder, style, about)
    # All numbers that a reader of the records may want later, with what they were made of.
    summary = Summary(
        task=task.name,
        split=split,
        style=style,
        prompt=task.prompt.hash,
        annotations=_digests(annotations),
        expected=task.splits[split],
        converted=len(examples),
        written=len(records),
        left_out=len(examples) - len(records),
        without_channel=without_channel,
        missing=finder.missing,
        labels=_labels_of(records),
    )
    return Prepared(records, summary)


def _found(
    examples: Sequence[Example], finder: Finder, style: Style, about: Mapping[str, str]
) -> tuple[list[Record], int]:
    """The records of the examples whose media are there, and how many of them lack the channel."""
    records = []
    without_channel = 0
    for example in examples:
        found = finder.find(example)
        if found.video is None or (style == "authors" and not found.complete):
            continue  # the authors' loaders skip a sample that lacks anything
        # Only by default: there a clip without its channel is a record like others.
        without_channel += not found.complete
        records.append(_record(example, found, about))
    return records, without_channel


def _labels_of(records: Sequence[Record]) -> dict[str, int]:
    """Label -> how many records have it."""
    labels: Counter[str] = Counter()
    for record in records:
        labels.update(record.meta.get("labels", []))
    return dict(labels)


def _record(example: Example, found: Found, about: Mapping[str, str]) -> Record:
    """An example with its media, as a record.

    Raises:
        RecordError: If it lacks what every record has: a name, a video, a question.
    """
    meta: dict[str, Any] = {**example.meta, **about}
    meta["video_id"] = example.video_id
    meta["labels"] = list(example.labels)
    if example.labels:
        meta["family"] = example.labels[-1]  # the narrowest, for reports by exact match
    try:
        turns = [Turn(question=question, answer=answer) for question, answer in example.turns]
        return Record(
            id=example.id,
            video=str(found.video),
            channels=found.channels,
            turns=turns,
            answers=list(example.answers),
            options=list(example.options),
            meta=meta,
        )
    except ValidationError as error:
        where, what = first_problem(error)
        raise RecordError(
            f"example {example.id!r} cannot become a record: {where}: {what}; check the "
            "annotation file"
        ) from error


def convert(
    task: Task, files: dict[str, Any], split: str, style: Style = "default"
) -> list[Example]:
    """The examples of parsed annotation files, with unique names.

    Annotations that repeat a name get it with "#2", "#3" behind: the authors' Music-AVQA training
    file holds every question about sound twice, LLaVA-Video names records after videos.

    Raises:
        RecordError: If the files are not the task's.
    """
    as_kind(task, Task, "a benchmark is a task of pave.tasks")
    as_kind(files, dict, "annotations are parsed files by their names")
    as_list_of(list(files), str, "annotations are parsed files by their names")
    # Readers take fields for granted; what is missing is one clear error here.
    with in_format(", ".join(files), task.title, task.annotations):
        if _are_the_authors(task, files):
            examples = _of_samples(files)
        else:
            examples = _examples_of(task)(files, split, style)
    if not examples:
        raise RecordError(f"{', '.join(files)}: no examples found; expected: {task.annotations}")
    seen: Counter[str] = Counter()
    unique = []
    for example in examples:
        seen[example.id] += 1
        if seen[example.id] > 1:  # records need names of their own
            example = replace(example, id=f"{example.id}#{seen[example.id]}")
        unique.append(example)
    return unique


def write(prepared: Prepared, out: str | os.PathLike[str], *, allow_missing: bool = False) -> Path:
    """Write the records, and beside them the summary and the list of missing media.

    Args:
        prepared: What `prepare` made.
        out: The records file.
        allow_missing: Go on without the examples whose media are missing.

    Raises:
        ConfigError: If `out` names no file.
        RecordError: If media are missing and that is not allowed, or no record is left. The list is
            written all the same.
    """
    file, summary = Path(out), prepared.summary
    if not file.name:
        raise ConfigError(
            f"out is {str(out)!r}, which is not a file; name the records file to write, such as "
            "val.jsonl"
        )
    # Before anything can go wrong: whoever is told that media are missing wants the list.
    listed = file.with_name(f"{file.stem}.missing.txt")
    if summary.missing:
        write_text_atomically(listed, "\n".join(summary.missing) + "\n")
    else:
        listed.unlink(missing_ok=True)
    if summary.missing and not allow_missing:
        shown = ", ".join(summary.missing[:3])
        if len(summary.missing) > 3:
            shown += ", ..."
        raise RecordError(
            f"{counted(len(summary.missing), 'media file is missing', 'media files are missing')} "
            f"({counted(summary.converted, 'example')}): {shown}. All are listed in {listed}. With "
            "--allow-missing, their examples are left out"
        )
    if not prepared.records:
        raise RecordError(
            f"no records remain, because all media are missing "
            f"({counted(summary.converted, 'example')}); see {listed}"
        )
    write_records(file, prepared.records)
    write_text_atomically(
        file.with_name(f"{file.stem}.summary.json"), summary.model_dump_json(indent=2) + "\n"
    )
    return file


def _examples_of(task: Task) -> Callable[[Files, str, Style], list[Example]]:
    """How a task makes examples.

    Raises:
        ConfigError: If it makes none.
    """
    if task.examples is None:
        raise ConfigError(
            f"{task.title} scores any records and needs no preparation; name the benchmark to "
            "prepare"
        )
    return task.examples


def _are_the_authors(task: Task, files: Files) -> bool:
    """Whether these are the authors' training files and not the benchmark's own.

    Those of LLaVA-Video look the same, so its own are what they are taken for.
    """
    if task.conversations:
        return False  # taken for the benchmark's own
    # Several files may be given; one of another kind means that none is taken for theirs.
    lists = [content for content in files.values() if isinstance(content, list) and content]
    return bool(lists) and all(are_samples(content) for content in lists)


def _of_samples(files: Files) -> list[Example]:
    """Examples of the authors' training files, which hold no labels and no options."""
    found = []
    for file, rows in files.items():
        for sample in parse_samples(rows, file):
            name = sample.video_id
            # What the sample names comes first; each place once.
            places = dict.fromkeys((sample.video, *videos(name)))
            feature = (f"{name}.pt", f"{name}/video_features.pt", name)
            found.append(Example(sample.id, name, tuple(places), sample.turns, feature=feature))
    return found


def _mapping(path: Place | None) -> Mapping[str, str]:
    """One of the authors' mapping files, video id -> path; nothing where none was given."""
    if path is None:
        return {}
    return check_mapping(read_json(path), path)


def _placed(
    examples: Sequence[Example], video_map: Mapping[str, str], feature_map: Mapping[str, str]
) -> list[Example]:
    """Examples whose media lie where the mappings say; the others lie where they would without."""
    moved = []
    for example in examples:
        key = video_id(example.video_id)  # mappings name videos without folder and suffix
        video = (video_map[key],) if key in video_map else example.video
        feature = (feature_map[key],) if key in feature_map else example.feature
        moved.append(replace(example, video=video, feature=feature))
    return moved


def _digests(paths: Sequence[str | os.PathLike[str]]) -> dict[str, str]:
    """SHA-256 of every annotation file."""
    digests = {}
    for file in annotation_files(paths):
        digests[file.name] = sha256_of(file)
    return digests


def write_authors_files(
    task: Task,
    annotations: Sequence[str | os.PathLike[str]],
    split: str,
    folder: str | os.PathLike[str],
) -> list[Path]:
    """Write the files that the authors' own scripts would make of the annotations.

    Raises:
        ConfigError: If they have no script for the task.
        RecordError: If the annotation files cannot be read as the task's.
    """
    if task.authors_files is None:
        raise ConfigError(
            f"the authors do not convert the files of {task.title}; leave --authors-files out"
        )
    files = read_annotations(annotations)
    if _are_the_authors(task, files):
        raise ConfigError(
            f"{', '.join(files)}: the authors' scripts have already converted these; leave "
            "--authors-files out"
        )
    with in_format(", ".join(files), task.title, task.annotations):
        made = task.authors_files(files, split)
    written = []
    for name, content in made.items():
        file = Path(folder) / name
        write_text_atomically(file, json.dumps(content, ensure_ascii=False) + "\n")
        written.append(file)
    return written
