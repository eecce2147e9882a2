"""The authors' annotation and mapping files as records, so that their published data can be used as it lies on disk.

An annotation file is a list of `{"id", "video", "conversations": [{"from": "human" | "gpt",
"value"}, ...]}`, the first question beginning with `<image>`. Two mapping files say where the media
of a video are: `{video id: feature file}` and `{video id: video}`, each relative to a folder of its
own. The video id is the video's name without folder and suffix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.data.records import Record, Turn
from pave.errors import RecordError

Place = str | os.PathLike[str]
_TOKEN = "<image>"


@dataclass(frozen=True)
class OfficialRecords:
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
) -> OfficialRecords:
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
        >>> found = read_annotations("anno.json", channel="audio", features="fast.json", videos="slow.json")  # doctest: +SKIP
        >>> len(found.records), found.missing                                                                # doctest: +SKIP
        (2, {'q2': 'missing is in no mapping file'})
    """
    samples = _json(annotations, list)
    heard = features if isinstance(features, Mapping) else _json(features, dict)
    seen = videos if isinstance(videos, Mapping) else _json(videos, dict)
    records: list[Record] = []
    missing: dict[str, str] = {}
    for number, sample in enumerate(samples, 1):
        where = f"{annotations}: sample {number}"
        key, turns = parse_sample(sample, where)
        name = str(sample.get("id", number))
        if key not in heard or key not in seen:
            missing[name] = (
                f"{key} is in no mapping file of {'features' if key not in heard else 'videos'}"
            )
            continue
        video, media = _below(video_root, seen[key]), _below(feature_root, heard[key])
        absent = [
            path
            for path in [video, *([media] if isinstance(media, str) else media)]
            if not os.path.exists(path)
        ]
        if absent:
            missing[name] = f"there is no {absent[0]}"
            continue
        records.append(Record(id=name, video=str(video), channels={channel: media}, turns=turns))
    return OfficialRecords(_distinct(records), missing)


def video_id(video: str) -> str:
    """Name of a video in the mapping files: no folder, nothing after the first dot, 13 characters of a scene's name.

    Example:
        >>> video_id("charades/1BFO3.mp4"), video_id("Scene0000_00_vh_clean.mp4")
        ('1BFO3', 'Scene0000_00_')
    """
    name = video.rpartition("/")[2]
    return (name[:13] if name.startswith("Scene") else name).split(".")[0]


def _json(path: Place, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(
            f"cannot read {path}: {error}; give one of the authors' JSON files"
        ) from error
    if not isinstance(content, kind):
        raise RecordError(
            f"{path} must hold a {'list of samples' if kind is list else 'mapping of video ids'}"
        )
    return content


def parse_sample(sample: Any, where: str) -> tuple[str, list[Turn]]:
    """The video id and the turns of a sample; a first answer without a question is passed over, as in the authors' code.

    Args:
        sample: `{"video", "conversations": [{"from": "human" | "gpt", "value"}, ...]}`.
        where: What to call it in an error.

    Raises:
        RecordError: If it is no such sample.
    """
    try:
        said = [(str(part["from"]), str(part["value"])) for part in sample["conversations"]]
        video = str(sample["video"])
    except (TypeError, KeyError) as error:
        raise RecordError(
            f"{where}: needs video and conversations of from and value; {error} is wrong"
        ) from error
    said = said[1:] if said and said[0][0] != "human" else said
    questions, answers = [text for _, text in said[::2]], [text for _, text in said[1::2]]
    if [who for who, _ in said] != ["human", "gpt"] * len(answers) or not answers:
        raise RecordError(f"{where}: human and gpt must take turns, the human first")
    if not questions[0].startswith(_TOKEN) or sum(text.count(_TOKEN) for text in questions) != 1:
        raise RecordError(
            f"{where}: the first question must begin with {_TOKEN}, which stands for the video; "
            "no other has one"
        )
    questions[0] = questions[0].removeprefix(_TOKEN).removeprefix("\n")
    return video_id(video), [
        Turn(question=q, answer=a) for q, a in zip(questions, answers, strict=True)
    ]


def _below(root: Place, path: Any) -> Any:
    """Absolute path or paths below a folder."""
    if isinstance(path, Sequence) and not isinstance(path, str):
        return [_below(root, part) for part in path]
    return os.path.abspath(Path(root) / str(path))


def _distinct(records: Sequence[Record]) -> list[Record]:
    """Records with distinct ids: the authors' files use one id for several questions of a video."""
    counts: dict[str, int] = {}
    distinct = []
    for record in records:
        counts[record.id] = counts.get(record.id, 0) + 1
        again = counts[record.id]
        distinct.append(
            record if again == 1 else record.model_copy(update={"id": f"{record.id}#{again}"})
        )
    return distinct
