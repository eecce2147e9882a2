"""Makes a folder of the world: clips and their channels' files, one JSONL record a question, settings, licence note.

Interrupted work goes on where it stopped: finished clips are kept, the records file appears
(atomically) when all are there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.errors import ConfigError
from pave.files import make_folder, write_text_atomically
from pave_world.clips import CLIPS, WorldSettings, channels_of, make_clip
from pave_world.questions import questions_for
from pave_world.sample import sample_scene

RECORDS = "records.jsonl"
SETTINGS = "world.json"
LICENCE = "LICENCE.txt"
LICENCE_TEXT = """\
The pictures in this folder show emojis designed by OpenMoji, the open-source emoji and icon project (https://openmoji.org).
Licence of OpenMoji and of these clips: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/
The sound was synthesised with the General-MIDI sound font TimGM6mb by Tim Brechbill.
"""


def make_world(
    out: str | os.PathLike[str],
    split: str = "train",
    clips: int = 100,
    seed: int = 0,
    kind: str = "sound",
    *,
    workers: int = 1,
    questions_per_clip: int = 8,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Path:
    """Make clips and records of one split; the same arguments give the same files.

    With ``workers > 1`` processes are spawned, so a script needs the usual ``if __name__ ==
    "__main__":``.

    Args:
        out: Folder for this split and kind alone; made if missing. Clips that are there already are
            kept.
        split: ``"train"``, ``"val"`` or ``"test"``.
        clips: Number of clips.
        seed: Seed of the data set.
        kind: ``"sound"``, ``"visual"``, ``"scene3d"``, ``"views"`` or ``"frames"``, see
            `sample_scene`.
        workers: Processes that make clips.
        questions_per_clip: At most so many records a clip.
        progress: Called with (clips done, clips in all) after every clip.
        **settings: ``duration``, ``fps``, ``size`` or ``rate``, see `WorldSettings`.

    Returns:
        The records file, ``out/records.jsonl``.

    Raises:
        ConfigError: A setting is wrong, a wheel is missing, or the folder holds a world with other
            settings.
        MediaError: A clip cannot be written.

    Example:
        >>> make_world("outputs/world/train", "train", clips=800, workers=2)  # doctest: +SKIP
        PosixPath('outputs/world/train/records.jsonl')
    """
    if clips < 1 or workers < 1 or questions_per_clip < 1:
        raise ConfigError(
            f"clips, workers and questions_per_clip must be at least 1, got {clips}, {workers}, "
            f"{questions_per_clip}"
        )
    try:
        world = WorldSettings.model_validate(
            {"split": split, "seed": seed, "kind": kind, **settings}
        )
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, part['loc'])) or 'kind'}: {part['msg']}" for part in error.errors()
        )
        raise ConfigError(f"Wrong setting of the world: {wrong}") from error
    folder = Path(out)
    _claim(folder, world)
    for done, _ in enumerate(_clips(folder, world, clips, workers), start=1):
        if progress is not None:
            progress(done, clips)
    return _write_records(folder, world, clips, questions_per_clip)


def _claim(folder: Path, world: WorldSettings) -> None:
    """Write the settings and the licence note, or refuse a folder that was made with other settings."""
    make_folder(folder)
    note = folder / SETTINGS
    text = json.dumps(world.model_dump(), indent=2) + "\n"
    if note.exists() and note.read_bytes() != text.encode():
        raise ConfigError(
            f"{folder} holds a world with other settings (see {note}); choose another folder or "
            "delete it"
        )
    write_text_atomically(note, text)
    write_text_atomically(folder / LICENCE, LICENCE_TEXT)


def _clips(folder: Path, world: WorldSettings, clips: int, workers: int) -> Iterator[Path]:
    """Make all clips, here or in spawned processes, and yield each when it is done."""
    if workers == 1:
        for index in range(clips):
            yield make_clip(folder, world, index)
        return
    context = multiprocessing.get_context(
        "spawn"
    )  # forking a process that runs torch's threads can hang
    with ProcessPoolExecutor(min(workers, clips), mp_context=context) as pool:
        jobs = [pool.submit(make_clip, folder, world, index) for index in range(clips)]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_records(folder: Path, world: WorldSettings, clips: int, questions_per_clip: int) -> Path:
    rows = [row for index in range(clips) for row in _rows(world, index, questions_per_clip)]
    path = folder / RECORDS
    write_text_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def _rows(world: WorldSettings, index: int, limit: int) -> list[dict[str, Any]]:
    """Records of one clip as JSON objects: one a question, in the schema of `pave.data.Record`."""
    scene = sample_scene(world.kind, world.split, index, world.seed, world.duration)
    media = f"{CLIPS}/{scene.name}.mp4"
    return [
        {
            "id": f"{scene.name}-{number}",
            "video": media,
            "channels": channels_of(scene),
            "turns": [{"question": question.question, "answer": question.answer}],
            "answers": [question.answer],
            "meta": {
                "family": question.family,
                "channel": question.needs,
                "clip": scene.name,
                "unseen": scene.unseen,
            },
        }
        for number, question in enumerate(questions_for(scene, limit))
    ]
