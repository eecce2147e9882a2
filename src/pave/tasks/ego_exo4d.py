"""Ego-Exo4D demonstrator proficiency: how skilled somebody is, one of four levels, from the ego video and up to four others.

Tested on val, accuracy (test labels are with the organisers). The authors count an answer as right
if the right level's name is anywhere in it, so an answer that lists all four is always right; by
default the first level named counts.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from pave.tasks.pairing import field, self_contained, text
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import accuracy
from pave.tasks.task import Example, Files, Item, Style, Task, conversation, only_file

LEVELS = ("Novice", "Early Expert", "Intermediate Expert", "Late Expert")
QUESTION = (
    "In this video, a human is performing an activity. "
    "Your goal is to evaluate the human's skill level based on their technique, consistency, and "
    "overall execution of the "
    "activity. "
    "You will classify the performance into one of the following levels: "
    "1. Novice: Beginner-level performance with noticeable gaps in basic skills, understanding, "
    "or execution. "
    "2. Early Expert: Competent performance showing solid foundational skills, but with room for "
    "refinement. "
    "3. Intermediate Expert: Advanced performance demonstrating strong technical abilities and "
    "strategic understanding, "
    "but not yet at mastery. "
    "4. Late Expert: Near-masterful or masterful performance, showcasing exceptional skill, "
    "precision, and expertise. "
    "Example Output: Early Expert"
)
PROMPT = Prompt(QUESTION)
_WHAT = "proficiency_demonstrator_train.json or proficiency_demonstrator_val.json"
_LEVEL = re.compile("|".join(level.replace(" ", r"\s+") for level in LEVELS), re.IGNORECASE)


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One take a record: the ego camera is the video, the others are the channel `views`."""
    found = []
    for row in field(only_file(files, _WHAT), "annotations", "annotations"):
        take, level = text(row, "take_uid", "take"), text(row, "proficiency_score", "take")
        cameras = dict(row["video_paths"])
        ego = cameras.pop("ego")
        found.append(
            Example(
                take,
                take,
                _places(ego),
                ((PROMPT.render(""), level),),
                answers=(level,),
                options=LEVELS,
                labels=tuple(str(row[name]) for name in ("scenario_name",) if row.get(name)),
                views=tuple(_places(cameras[name]) for name in sorted(cameras)),
                # The authors extract a folder of files, one a camera, under the path of the ego
                # video's own folder.
                feature=(
                    f"{take}.pt",
                    f"{take}.safetensors",
                    str(PurePosixPath(_places(ego)[0]).parent),
                ),
                meta={"task_name": row.get("task_name", "")},
            )
        )
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`proficiency_demonstrator_<split>_instruct_short_prompt.json` (which holds the long prompt)."""
    rows = field(only_file(files, _WHAT), "annotations", "annotations")
    return {
        f"proficiency_demonstrator_{split}_instruct_short_prompt.json": [
            {
                "id": row["take_uid"],
                "conversations": conversation(PROMPT.render(""), row["proficiency_score"]),
                "video": row["take_uid"],
            }
            for row in rows
        ]
    }


def _places(path: str) -> tuple[str, ...]:
    """Where a camera's video may be: downscaled to 448 lines (what the authors use), or as annotated."""
    given = PurePosixPath(path)
    return (str(given.parent / "downscaled" / "448" / given.name), str(given))


def _parse(item: Item, style: Style) -> str:
    if style == "authors":
        return item.prediction
    found = _LEVEL.search(item.prediction)
    return " ".join(found[0].split()).title() if found else ""


def _right(item: Item, said: str, style: Style) -> bool:
    return item.references[0] in said if style == "authors" else said == item.references[0]


@register_task("ego-exo4d")
def ego_exo4d() -> Task:
    """Ego-Exo4D demonstrator proficiency."""
    return Task(
        name="ego-exo4d",
        title="Ego-Exo4D demonstrator proficiency",
        splits={"train": None, "val": None},
        tested_on="val",
        channel="views",
        annotations=_WHAT,
        prompt=PROMPT,
        examples=examples,
        score=accuracy(_parse, _right),
        authors_files=authors_files,
        pair=self_contained,
        self_contained=True,
    )
