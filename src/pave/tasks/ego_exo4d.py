"""Ego-Exo4D demonstrator proficiency: how skilled somebody is, from the ego and other cameras.

The answer is one of four levels. Tested on val, accuracy (test labels are with the organisers). The
authors count an answer as right if the right level's name is anywhere in it, so an answer that
lists all four is always right; by default the stated level counts, or where none is stated the
first that is named.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from pave.metrics import final_text, stated_option
from pave.tasks.pairing import field, self_contained, text
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import accuracy
from pave.tasks.task import Example, Files, Item, Style, Task, authors_sample, only_file

LEVELS = ("Novice", "Early Expert", "Intermediate Expert", "Late Expert")
# The authors' words, which their patch was trained on; other words give other scores.
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
# Any case, any white space between the words of a level.
_LEVEL = re.compile("|".join(level.replace(" ", r"\s+") for level in LEVELS), re.IGNORECASE)


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One take a record: the ego camera is the video, the others are the channel `views`."""
    found = []
    for row in field(only_file(files, _WHAT), "annotations", "annotations"):
        take, level = text(row, "take_uid", "take"), text(row, "proficiency_score", "take")
        scenario = row.get("scenario_name")
        # A copy, because `pop` must leave the parsed file as it is.
        cameras = dict(row["video_paths"])
        ego = _places(cameras.pop("ego"))
        # In order of their names, so that a camera has the same place in every record.
        others = tuple(_places(cameras[name]) for name in sorted(cameras))
        example = Example(
            id=take,
            video_id=take,
            video=ego,
            # All takes are asked the same: the prompt is the question.
            turns=((PROMPT.render(""), level),),
            answers=(level,),
            options=LEVELS,
            labels=(str(scenario),) if scenario else (),
            views=others,
            # The authors extract a folder of files, one a camera, under the path of the ego
            # video's own folder.
            feature=(f"{take}.pt", f"{take}.safetensors", str(PurePosixPath(ego[0]).parent)),
            meta={"task_name": row.get("task_name", "")},
        )
        found.append(example)
    return found


def authors_files(files: Files, split: str) -> dict[str, Any]:
    """`proficiency_demonstrator_<split>_instruct_short_prompt.json`, with the long prompt in it."""
    samples = []
    for row in field(only_file(files, _WHAT), "annotations", "annotations"):
        take = row["take_uid"]
        samples.append(authors_sample(take, take, PROMPT.render(""), row["proficiency_score"]))
    return {f"proficiency_demonstrator_{split}_instruct_short_prompt.json": samples}


def _places(path: str) -> tuple[str, ...]:
    """Where a camera's video may be: downscaled to 448 lines, or as annotated.

    The authors use the downscaled ones.
    """
    given = PurePosixPath(path)
    return (str(given.parent / "downscaled" / "448" / given.name), str(given))


def _parse(item: Item, style: Style) -> str:
    """The level that the answer states; in the authors' style the answer as it is."""
    if style == "authors":
        return item.prediction
    stated = stated_option(item.prediction, LEVELS)
    if stated:
        return stated
    found = _LEVEL.search(final_text(item.prediction))
    if found is None:
        return ""
    # As LEVELS spells it, to be compared with the answer.
    return " ".join(found[0].split()).title()


def _right(item: Item, parsed: str, style: Style) -> bool:
    level = item.references[0]
    if style == "authors":
        # With its capitals: "early expert" is no level to their script.
        return level in parsed
    return parsed == level


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
