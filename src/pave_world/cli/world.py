"""`pave world`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pave.cli import output
from pave.cli.settings import Switch


def world_verb(
    out: Path,
    /,
    *,
    split: Literal["train", "val", "test"] = "train",
    clips: int = 100,
    seed: int = 0,
    kind: Literal["sound", "visual", "scene3d", "views", "frames"] = "sound",
    questions_per_clip: int = 8,
    workers: int = 1,
    json: Switch = False,
) -> int:
    """Make clips of the embedded world, what their channel reads, and a records file of questions about them.

    The same settings always give the same clips. Scenes of the three splits never meet.

    ```
    pave world outputs/world/train --split train --clips 500 --workers 2
    pave world outputs/world/test --split test --clips 100
    pave world outputs/world/views --kind views --clips 500
    ```

    Args:
        out: Folder for this split; made if missing. Finished clips are kept, so an interrupted run
            goes on.
        split: Which part of the world.
        clips: How many clips.
        seed: Seed of the scenes.
        kind: What the questions need beside the picture: sound, nothing, depth, further cameras, or
            a high frame rate.
        questions_per_clip: At most so many questions about a clip.
        workers: Processes that make clips.
        json: Print what was made as JSON.
    """
    from pave_world import make_world

    with output.stages() as stages:
        records = make_world(
            out,
            split,
            clips,
            seed,
            kind,
            workers=workers,
            questions_per_clip=questions_per_clip,
            progress=lambda done, total: stages("clips", done, total),
        )
    questions = len(records.read_text(encoding="utf-8").splitlines())
    if json:
        output.as_json(
            {
                "records": records,
                "clips": clips,
                "questions": questions,
                "split": split,
                "kind": kind,
                "seed": seed,
            }
        )
    else:
        output.line(f"{clips} clips, {questions} questions: {records}")
    return 0
