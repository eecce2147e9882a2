"""LLaVA-Video-178K: training data of the high-frame-rate patch.

The authors take two questions a video, from four files. Both styles keep the first two records of
each `id` in order of first appearance; an id is counted within its file.
"""

from __future__ import annotations

from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from pave.errors import RecordError
from pave.tasks.pairing import field, text
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.task import Example, Files, Style, Task

QUESTIONS_PER_VIDEO = 2
_IMAGE = "<image>"
_WHAT = "{1_2_m,2_3_m}_{academic,youtube}_oe_v0_1_qa_processed.json, one or several"


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """Conversations as dialogues."""
    found = []
    for file, rows in files.items():
        for row in subset(rows, file):
            video = text(row, "video", f"record {row['id']}")
            without_suffix = PurePosixPath(video).with_suffix("")
            example = Example(
                id=str(row["id"]),
                video_id=video,
                video=_places(video),
                turns=_turns(row),
                # Features lie in folders as the videos do, or all in one.
                feature=(f"{without_suffix}.pt", f"{without_suffix.name}.pt"),
                meta={"data_source": row.get("data_source", "")},
            )
            found.append(example)
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`<name>_2pv.json` of each file ("two per video")."""
    made = {}
    for file, rows in files.items():
        made[f"{PurePosixPath(file).stem}_2pv.json"] = subset(rows, file)
    return made


def subset(rows: Any, name: str = "annotations") -> list[dict[str, Any]]:
    """The first two records of each id, those of one id together.

    Example:
        >>> [row["n"] for row in subset([{"id": i, "n": n} for n, i in enumerate("abaab")])]
        [0, 2, 1, 4]
    """
    if not isinstance(rows, list):
        raise RecordError(f"{name} is not a list of records; expected: {_WHAT}")
    # A dictionary keeps its keys in order of first appearance.
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        kept = groups.setdefault(field(row, "id", name), [])
        if len(kept) < QUESTIONS_PER_VIDEO:
            kept.append(row)
    return list(chain.from_iterable(groups.values()))


def _turns(row: dict[str, Any]) -> tuple[tuple[str, str | None], ...]:
    """The dialogue of a record, without the mark where the video's tokens go."""
    where = f"record {row['id']}"
    parts = [text(turn, "value", where) for turn in field(row, "conversations", where)]
    # Human and model take turns, the human first.
    # A mark left in would be read as text: pave puts the video first by itself.
    questions = [part.replace(f"{_IMAGE}\n", "").replace(_IMAGE, "") for part in parts[::2]]
    return tuple(zip(questions, parts[1::2], strict=True))


def _places(video: str) -> tuple[str, ...]:
    """As annotated, or in one of the authors' folders of downscaled videos."""
    head, _, rest = video.partition("/")
    if not rest:
        return (video,)
    return (video, f"{head}_ds/{rest}")


@register_task("llava-video")
def llava_video() -> Task:
    """LLaVA-Video-178K."""
    return Task(
        name="llava-video",
        title="LLaVA-Video-178K",
        splits={"train": None},
        tested_on="",  # only trained on
        channel="frames",
        annotations=_WHAT,
        prompt=Prompt(),
        examples=examples,
        authors_files=authors_files,
        conversations=True,
    )
