"""MVBench: 20 kinds of temporal understanding, 200 multiple-choice questions each.

The score is accuracy, by kind too. The authors score with the script in lmms-eval: their reading of
the letter, and empty answers are left out of the mean. By default the letter is read properly and
an empty answer is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from string import ascii_uppercase
from typing import Any

from pave.errors import RecordError
from pave.metrics.choice_scripts import standing_letter
from pave.tasks.pairing import text, texts
from pave.tasks.prompt import Prompt
from pave.tasks.registry import register_task
from pave.tasks.scoring import choice
from pave.tasks.task import Example, Files, Item, Scored, Style, Task

PROMPT = Prompt(
    "Question:{question}\nOption:\n{options}Only give the best option.\n", "({letter}) {text}\n"
)
FOLDERS = {
    "action_antonym": "ssv2_video_mp4",
    "action_count": "perception/videos",
    "action_localization": "sta/sta_video_segment",
    "action_prediction": "star/Charades_segment",
    "action_sequence": "star/Charades_segment",
    "character_order": "perception/videos",
    "counterfactual_inference": "clevrer/video_validation",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/video_fps3_hq_segment",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "fine_grained_pose": "nturgbd_convert",
    "moving_attribute": "clevrer/video_validation",
    "moving_count": "clevrer/video_validation",
    "moving_direction": "clevrer/video_validation",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_segment",
    "object_shuffle": "perception/videos",
    "scene_transition": "scene_qa/video",
    "state_change": "perception/videos",
    "unexpected_action": "FunQA_test/test",
}
"""Kind -> folder of its videos (of episodic_reasoning: folders of frames)."""
_WHAT = "the files json/<kind>.json of OpenGVLab/MVBench, or a folder of them"
# In the authors' style the letter is read by lmms-eval's rule.
_score = choice(standing_letter)


def examples(files: Files, split: str, style: Style) -> list[Example]:
    """One question a record, named by kind and place in the file."""
    found = []
    for name, rows in files.items():
        kind = PurePosixPath(name).stem  # a file a kind
        if kind not in FOLDERS:
            raise RecordError(f"{name}: MVBench has no kind {kind!r}; expected: {_WHAT}")
        found += [_example(kind, number, row) for number, row in enumerate(rows)]
    return found


def _example(kind: str, number: int, row: Any) -> Example:
    """A row of a kind's annotation file as an example."""
    where = f"{kind} {number}"
    options = texts(row, "candidates", where)
    if row["answer"] not in row["candidates"]:
        raise RecordError(f"{where}: the answer {row['answer']!r} is not one of the candidates")
    # Annotated is the answer's text; what is asked for is its letter.
    letter = ascii_uppercase[row["candidates"].index(row["answer"])]
    video, folder = text(row, "video", where), FOLDERS[kind]
    feature = str(PurePosixPath(video).with_suffix(".pt"))
    # Some kinds ask about a part of a video, in seconds.
    part = {name: row[name] for name in ("start", "end") if name in row}
    return Example(
        id=f"{kind}-{number}",
        video_id=f"{folder}/{video}",
        # data0613/ is what a later archive of the data set unpacks into.
        video=(f"{folder}/{video}", f"data0613/{folder}/{video}", video),
        turns=((PROMPT.render(text(row, "question", where), options), letter),),
        answers=(letter,),
        options=options,
        labels=(kind,),
        feature=(f"{folder}/{feature}", feature),
        meta=part,
    )


def score(items: Sequence[Item], style: Style) -> Scored:
    """Accuracy; in the authors' style over the answers that are not empty.

    How many those are is in the notes. Columns keep every item, so that arms stay comparable.
    """
    everything = _score(items, style)
    if style == "default":
        return everything
    answered = [item for item in items if item.prediction]
    # Where every answer is empty there is nothing to take a mean of.
    accuracy: float | None = 0.0
    if answered:
        accuracy = _score(answered, style).scores["accuracy"]
    note = (
        f"{len(answered)} of {len(items)}: empty answers are left out of the accuracy, not of its "
        "interval"
    )
    return replace(everything, scores={"accuracy": accuracy}, notes={"answered": note})


@register_task("mvbench")
def mvbench() -> Task:
    """MVBench."""
    return Task(
        name="mvbench",
        title="MVBench",
        splits={"test": 4_000},
        tested_on="test",
        channel="frames",
        annotations=_WHAT,
        prompt=PROMPT,
        examples=examples,
        score=score,
    )
