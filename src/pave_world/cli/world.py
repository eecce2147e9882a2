"""`pave world`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pave.cli import output
from pave.cli.settings import Switch
from pave.texts import counted


def world_verb(
    out: Path,
    /,
    *,
    split: Literal["train", "val", "test"] = "train",
    clips: int = 100,
    seed: int = 0,
    channel: str = "audio",
    questions_per_clip: int = 8,
    pairs: Switch = False,
    world_version: Literal[1, 2] = 1,
    workers: int = 1,
    json: Switch = False,
) -> int:
    """Make clips of the embedded world, with the files of their channel and questions about them.

    The same settings always give the same clips, and the three splits never share a scene.

    ```
    pave world outputs/world/train --split train --clips 500 --workers 2
    pave world outputs/world/test --split test --clips 100
    pave world outputs/world/views --channel views --clips 500
    pave world outputs/world/swap --split test --clips 100 --pairs
    ```

    Args:
        out: Folder for this split; made if missing. Finished clips are kept, so an interrupted run
            goes on.
        split: Which split of the world to make.
        clips: How many clips.
        seed: Seed of the scenes.
        channel: What the questions need in addition to the picture: audio, scene3d (depth), views
            (other cameras), frames (a high frame rate), motion (how the camera moves), or nothing
            (video).
        questions_per_clip: Maximum number of questions about a clip.
        pairs: Make clips in pairs that are asked the same question and answer it differently, for
            `pave eval --swap`.
        world_version: Rules of the world. In version 2, things out of view are also heard in clips
            with two sounds; in version 1, both are always in the picture.
        workers: Processes that make clips.
        json: Print what was made as JSON.
    """
    from pave_world import make_world
    from pave_world.films.make import read_settings

    with output.stages() as stages:
        records = make_world(
            out,
            split,
            clips,
            seed,
            channel,
            workers=workers,
            questions_per_clip=questions_per_clip,
            pairs=pairs,
            version=world_version,
            progress=lambda done, total: stages("clips", done, total),
        )
    questions = len(records.read_text(encoding="utf-8").splitlines())
    if not json:
        output.line(f"{counted(clips, 'clip')}, {counted(questions, 'question')}: {records}")
        return 0
    made = read_settings(out)
    output.as_json(
        {
            "records": records,
            "clips": clips,
            "questions": questions,
            "split": made.split,
            "channel": made.channel,
            "seed": made.seed,
        }
    )
    return 0
