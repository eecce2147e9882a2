"""The authors' published files in place of a benchmark's own: their training files, and the mapping files beside them.

Their scripts turn every benchmark's training annotations into lists of `{"id", "video",
"conversations"}`, with the prompt in the question. Two mapping files say where the media of a video
are: `{video id: video}` (`slow_path_mapping_path`) and `{video id: feature file}`
(`fast_path_mapping_path`), relative to a folder each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pave.errors import RecordError
from pave.paper.records import parse_sample, video_id
from pave.tasks.files import read_json
from pave.tasks.task import Example, Files, Task, videos

Map = Mapping[str, str]


def are_conversations(task: Task, files: Files) -> bool:
    """Whether these are the authors' training files and not the benchmark's own (those of LLaVA-Video look the same)."""
    if task.conversations:
        return False
    lists = [content for content in files.values() if isinstance(content, list) and content]
    return bool(lists) and all(
        isinstance(rows[0], dict) and "conversations" in rows[0] for rows in lists
    )


def examples(files: Files) -> list[Example]:
    """One sample a record. Their files hold no labels and no options, so these are for training."""
    found = []
    for file, rows in files.items():
        for number, sample in enumerate(rows, 1):
            name, turns = parse_sample(sample, f"{file}: sample {number}")
            said = tuple((turn.question, turn.answer) for turn in turns)
            places = dict.fromkeys((str(sample["video"]), *videos(name)))
            feature = (f"{name}.pt", f"{name}/video_features.pt", name)
            found.append(
                Example(str(sample.get("id", number)), name, tuple(places), said, feature=feature)
            )
    return found


def read_map(path: Any) -> Map:
    """A mapping file.

    Raises:
        RecordError: If it is none.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(
        isinstance(place, str) for place in content.values()
    ):
        raise RecordError(f'{path} must map video ids to paths, such as {{"1BFO3": "1BFO3.pt"}}')
    return content


def placed(found: Sequence[Example], video_map: Map, feature_map: Map) -> list[Example]:
    """Examples whose media lie where the mappings say; those in no mapping lie where they would without."""
    moved = []
    for example in found:
        key = video_id(example.video_id)
        video = (video_map[key],) if key in video_map else example.video
        feature = (feature_map[key],) if key in feature_map else example.feature
        moved.append(replace(example, video=video, feature=feature))
    return moved
