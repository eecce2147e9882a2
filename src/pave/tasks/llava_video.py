"""LLaVA-Video-178K: training data of the high-frame-rate patch; the authors take two questions a video, from four files.

Both styles keep the first two records of each `id` in order of first appearance. An id is counted
within its file.
"""

from __future__ import annotations

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
    for name, rows in files.items():
        for row in subset(rows, name):
            video, turns = text(row, "video", f"record {row['id']}"), _turns(row)
            stem = PurePosixPath(video).stem
            found.append(
                Example(
                    str(row["id"]),
                    video,
                    _places(video),
                    turns,
                    feature=(f"{PurePosixPath(video).with_suffix('')}.pt", f"{stem}.pt"),
                    meta={"data_source": row.get("data_source", "")},
                )
            )
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`<name>_2pv.json` of each file."""
    return {
        f"{PurePosixPath(name).stem}_2pv.json": subset(rows, name) for name, rows in files.items()
    }


def subset(rows: Any, name: str = "annotations") -> list[dict[str, Any]]:
    """The first two records of each id, those of one id together.

    Example:
        >>> [row["n"] for row in subset([{"id": i, "n": n} for n, i in enumerate("abaab")])]
        [0, 2, 1, 4]
    """
    if not isinstance(rows, list):
        raise RecordError(f"{name} is no list of records; wanted: {_WHAT}")
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        kept = groups.setdefault(field(row, "id", name), [])
        if len(kept) < QUESTIONS_PER_VIDEO:
            kept.append(row)
    return [row for kept in groups.values() for row in kept]


def _turns(row: dict[str, Any]) -> tuple[tuple[str, str | None], ...]:
    where = f"record {row['id']}"
    said = [text(turn, "value", where) for turn in field(row, "conversations", where)]
    questions = [asked.replace(f"{_IMAGE}\n", "").replace(_IMAGE, "") for asked in said[::2]]
    return tuple(zip(questions, said[1::2], strict=True))


def _places(video: str) -> tuple[str, ...]:
    """As annotated, or in one of the authors' folders of downscaled videos."""
    head, _, rest = video.partition("/")
    return (video, f"{head}_ds/{rest}") if rest else (video,)


@register_task("llava-video")
def llava_video() -> Task:
    """LLaVA-Video-178K."""
    return Task(
        name="llava-video",
        title="LLaVA-Video-178K",
        splits={"train": None},
        tested_on="",
        channel="frames",
        annotations=_WHAT,
        prompt=Prompt(),
        examples=examples,
        authors_files=authors_files,
        conversations=True,
    )
