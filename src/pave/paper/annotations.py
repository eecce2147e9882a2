"""The authors' annotation and mapping files, read as they lie on disk.

An annotation file is a list of `{"id", "video", "conversations": [{"from": "human" | "gpt",
"value"}, ...]}`, with the prompt in the question and the first question beginning with `<image>`.
Their scripts turn the training annotations of every benchmark into such lists.

Two mapping files say where the media of a video are: `{video id: video}`
(`slow_path_mapping_path`) and `{video id: feature file}` (`fast_path_mapping_path`), each relative
to a folder of its own. The video id is the video's name without folder and suffix.

`read_annotations` makes records of the three; `pave prepare`, which looks media up in its own way,
takes `parse_samples` and `read_mapping`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.data.records import Record, Turn
from pave.errors import RecordError
from pave.texts import TextFile, read_json

Place = str | os.PathLike[str]
_TOKEN = "<image>"


@dataclass(frozen=True)
class Sample:
    """One sample of an annotation file.

    Attributes:
        id: Its name; its number in the file where it has none.
        video: The video, as the file writes it.
        turns: Questions as the model reads them, and answers.
    """

    id: str
    video: str
    turns: tuple[tuple[str, str], ...]

    @property
    def video_id(self) -> str:
        """Name of the video in the mapping files."""
        return video_id(self.video)


@dataclass(frozen=True)
class AuthorsRecords:
    """What an annotation file gave.

    Attributes:
        records: One a sample whose video and features are known and there, in the order of the
            file.
        missing: Id of every other sample -> what it lacks.
    """

    records: list[Record]
    missing: dict[str, str]


def read_annotations(
    annotations: Place,
    *,
    channel: str,
    features: Place | Mapping[str, Any],
    videos: Place | Mapping[str, Any],
    feature_root: Place = ".",
    video_root: Place = ".",
) -> AuthorsRecords:
    """Read an annotation file with its two mapping files.

    Args:
        annotations: Their JSON file.
        channel: What the features are of: "audio", "frames", "scene3d" or "views"; the patch's
            `official` encoder reads them.
        features: Their mapping file of features (`fast_path_mapping_path`), or its content. A list
            of files is kept as a list.
        videos: Their mapping file of videos (`slow_path_mapping_path`), or its content.
        feature_root: Folder of the features (`data_root`).
        video_root: Folder of the videos (`slow_path_data_root`); a video is a file, or a folder
            with `stacked_images.npy`.

    Raises:
        RecordError: If a file cannot be read or is none of theirs.

    Example:
        >>> files = {"features": "fast.json", "videos": "slow.json"}
        >>> found = read_annotations("anno.json", channel="audio", **files)  # doctest: +SKIP
        >>> len(found.records), found.missing  # doctest: +SKIP
        (2, {'q2': 'missing is not in any mapping file'})
    """
    samples = parse_samples(_read_json(annotations, list), str(annotations))
    feature_of = features if isinstance(features, Mapping) else _read_json(features, dict)
    video_of = videos if isinstance(videos, Mapping) else _read_json(videos, dict)
    records: list[Record] = []
    missing: dict[str, str] = {}
    for sample in samples:
        key = sample.video_id
        # A sample without its media is told of, and the others are read.
        if key not in feature_of:
            missing[sample.id] = f"{key} is not in any mapping file of features"
            continue
        if key not in video_of:
            missing[sample.id] = f"{key} is not in any mapping file of videos"
            continue
        video = _below(video_root, _path(video_of[key], "videos", key))
        cameras = feature_of[key]
        # A list has a file for each camera, all of them read by one encoder.
        media: str | list[str]
        if isinstance(cameras, (list, tuple)):
            media = []
            for camera in cameras:
                media.append(_below(feature_root, _path(camera, "features", key)))
        else:
            media = _below(feature_root, _path(cameras, "features", key))
        absent = _first_absent(video, media)
        if absent is not None:
            missing[sample.id] = f"there is no {absent}"
            continue
        turns = [Turn(question=question, answer=answer) for question, answer in sample.turns]
        record = Record(id=sample.id, video=str(video), channels={channel: media}, turns=turns)
        records.append(record)
    return AuthorsRecords(_distinct(records), missing)


def parse_samples(rows: Sequence[Any], file: str) -> list[Sample]:
    """The samples of an annotation file's content.

    Args:
        rows: What the file holds.
        file: What to call it in an error.

    Raises:
        RecordError: If one is no sample of theirs; the message has its number.
    """
    samples = []
    for number, row in enumerate(rows, 1):
        where = f"{file}: sample {number}"
        video, turns = _parse(row, where)
        samples.append(Sample(str(row.get("id", number)), video, turns))
    return samples


def are_samples(content: Any) -> bool:
    """Whether the content of a file looks like one of their annotation files."""
    if not isinstance(content, list) or not content:
        return False
    return isinstance(content[0], dict) and "conversations" in content[0]


def check_mapping(content: Any, file: Place) -> Mapping[str, str]:
    """The content of a mapping file, video id -> path.

    Raises:
        RecordError: If it is none.
    """
    paths = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(path, str) for path in paths):
        raise RecordError(f'{file} must map video ids to paths, such as {{"1BFO3": "1BFO3.pt"}}')
    mapping: Mapping[str, str] = content
    return mapping


def video_id(video: str) -> str:
    """Name of a video in the mapping files: no folder, nothing after the first dot.

    Of a scene's name only the first 13 characters count.

    Example:
        >>> video_id("charades/1BFO3.mp4"), video_id("Scene0000_00_vh_clean.mp4")
        ('1BFO3', 'Scene0000_00_')
    """
    name = video.rpartition("/")[2]
    if name.startswith("Scene"):
        name = name[:13]  # Scene0000_00_
    return name.split(".")[0]


def _parse(row: Any, where: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A sample's video and its (question, answer) pairs."""
    try:
        # (who speaks, what)
        parts = [(str(part["from"]), str(part["value"])) for part in row["conversations"]]
        video = str(row["video"])
    except (TypeError, KeyError) as error:
        raise RecordError(
            f"{where}: needs `video`, and `conversations` with `from` and `value`; {error} is "
            "missing or wrong"
        ) from error
    # A first answer without a question is passed over, as in the authors' code.
    if parts and parts[0][0] != "human":
        parts = parts[1:]
    # [human, gpt, human, gpt, ...] -> [(human, gpt), ...]
    pairs = list(zip(parts[::2], parts[1::2], strict=False))
    turns = []
    alternating = len(parts) % 2 == 0  # a question at the end has no answer
    tokens = 0  # their placeholders of the video
    for (asks, question), (says, answer) in pairs:
        alternating = alternating and asks == "human" and says == "gpt"
        tokens += question.count(_TOKEN)
        turns.append((question, answer))
    if not turns or not alternating:
        raise RecordError(f"{where}: human and gpt must take turns, the human first")
    first, answer = turns[0]
    if not first.startswith(_TOKEN) or tokens != 1:
        raise RecordError(
            f"{where}: the first question must begin with {_TOKEN}, which stands for the video; "
            "no other question may have it"
        )
    # The token stands for the video, which a record names on its own.
    turns[0] = (first.removeprefix(_TOKEN).removeprefix("\n"), answer)
    return video, tuple(turns)


def _read_json(path: Place, wanted: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """A JSON file that holds a list or an object."""
    file = TextFile(Path(path), RecordError, "give one of the authors' JSON files")
    content = read_json(file)
    if not isinstance(content, wanted):
        what = "list of samples" if wanted is list else "mapping of video ids"
        raise RecordError(f"{path} must hold a {what}")
    return content


def _path(value: Any, mapping: str, key: str) -> str:
    """A path of a mapping file, which may hold anything else."""
    # No `str(value)`: a null would name a file "None", which is then said to be missing.
    if not isinstance(value, (str, os.PathLike)):
        what = type(value).__name__
        raise RecordError(f"the mapping file of {mapping} has a {what} for {key}; give a path")
    return os.fspath(value)


def _below(root: Place, path: str) -> str:
    """Absolute path of what a mapping file names in a folder."""
    return os.path.abspath(Path(root) / path)


def _first_absent(video: str, media: str | list[str]) -> str | None:
    """The first of a sample's files that is not there."""
    features = [media] if isinstance(media, str) else media
    for path in (video, *features):
        if not os.path.exists(path):
            return path
    return None


def _distinct(records: Sequence[Record]) -> list[Record]:
    """Records with distinct ids: the authors' files use one id for several questions of a video."""
    seen: Counter[str] = Counter()
    distinct = []
    for record in records:
        seen[record.id] += 1
        again = seen[record.id]  # 1 for the first one, which keeps its id
        if again > 1:
            record = record.model_copy(update={"id": f"{record.id}#{again}"})
        distinct.append(record)
    return distinct
