"""Makes a folder of the world: clips, their channels' files, and one JSONL record per question.

Settings and a licence note lie beside them.

Interrupted work goes on where it stopped: finished clips are kept, the records file appears
(atomically) when all are there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.errors import ConfigError, first_problem
from pave.files import make_folder, write_text_atomically
from pave.texts import read_object
from pave_world.films.clips import CLIPS, SETTINGS, WorldSettings, channels_of, make_clip
from pave_world.questions.choose import questions_for
from pave_world.questions.pairs import pair_of

RECORDS = "records.jsonl"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LICENCE = "LICENCE.txt"
LICENCE_TEXT = """\
The pictures in this folder show emojis designed by OpenMoji, the open-source emoji and icon \
project (https://openmoji.org).
Licence of OpenMoji and of these clips: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/
The sound was synthesised with the General-MIDI sound font TimGM6mb by Tim Brechbill.
"""


def make_world(  # noqa: PLR0913 - keyword-only settings of the public API
    out: str | os.PathLike[str],
    split: str = "train",
    clips: int = 100,
    seed: int = 0,
    channel: str = "audio",
    *,
    workers: int = 1,
    questions_per_clip: int = 8,
    progress: Callable[[int, int], None] | None = None,
    made: Callable[[Path], None] | None = None,
    **settings: Any,
) -> Path:
    """Make clips and records of one split; the same arguments give the same files.

    With ``workers > 1`` processes are spawned, so a script needs the usual ``if __name__ ==
    "__main__":``.

    Args:
        out: Folder for this split and channel alone; made if missing. Clips that are there already
            are kept.
        split: ``"train"``, ``"val"`` or ``"test"``.
        clips: Number of clips.
        seed: Seed of the data set.
        channel: ``"audio"``, ``"video"``, ``"scene3d"``, ``"views"``, ``"frames"`` or ``"motion"``,
            see `sample_scene`.
        workers: Processes that make clips.
        questions_per_clip: The most records per clip.
        progress: Called with (clips done, clips in all) after every clip.
        made: Called with every film, in the order in which they are done; the processes go on
            meanwhile.
        **settings: ``duration``, ``fps``, ``size``, ``rate``, ``version`` or ``pairs``, see
            `WorldSettings`.

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
    given = {"split": split, "seed": seed, "channel": channel, **settings}
    try:
        world = WorldSettings.model_validate(given)
    except ValidationError as error:
        where, what = first_problem(error)
        raise ConfigError(f"wrong setting of the world: {where or 'channel'}: {what}") from error
    folder = Path(out)
    _claim(folder, world)
    for done, film in enumerate(_clips(folder, world, clips, workers), start=1):
        if made is not None:
            made(film)
        if progress is not None:
            progress(done, clips)
    return _write_records(folder, world, clips, questions_per_clip)


def read_settings(folder: Path) -> WorldSettings:
    """What the clips of a folder are, as they were written down with them.

    Raises:
        ConfigError: If the note is damaged.
    """
    note = folder / SETTINGS
    advice = "choose another folder or delete it"
    try:
        return WorldSettings.model_validate(read_object(note, ConfigError, advice))
    except ValidationError as error:
        raise ConfigError(f"{note} is damaged ({first_problem(error)[1]}); {advice}") from error


def _claim(folder: Path, world: WorldSettings) -> None:
    """Write settings and licence note, or refuse a folder that was made with other settings."""
    make_folder(folder)
    note = folder / SETTINGS
    # Compared as settings, not as text: an older version wrote two channels under other names.
    if note.exists() and read_settings(folder) != world:
        raise ConfigError(
            f"{folder} holds a world with other settings (see {note}); choose another folder or "
            "delete it"
        )
    write_text_atomically(note, json.dumps(world.note(), indent=2) + "\n")
    write_text_atomically(folder / LICENCE, LICENCE_TEXT)


def _clips(folder: Path, world: WorldSettings, clips: int, workers: int) -> Iterator[Path]:
    """Make all clips, here or in spawned processes, and yield each when it is done."""
    if workers == 1:
        for index in range(clips):
            yield make_clip(folder, world, index)
        return
    # Spawned: forking a process that runs torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, clips), mp_context=context)
    with _one_thread_each(), pool:
        jobs = [pool.submit(make_clip, folder, world, index) for index in range(clips)]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            # Also when the caller stops early: what has not begun is not begun.
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile compute with one thread: there are as many as cores.

    On small matrices a second thread costs a third more time of the processor, and gains nothing.
    """
    before = dict(os.environ)
    # Read when a library is loaded: for this process nothing changes.
    for name in _THREADS:
        os.environ[name] = "1"
    try:
        yield
    finally:
        for name in _THREADS:
            del os.environ[name]
            if name in before:
                os.environ[name] = before[name]


def _write_records(folder: Path, world: WorldSettings, clips: int, questions_per_clip: int) -> Path:
    """One line a question, in the order of the clips."""
    lines: list[str] = []
    for index in range(clips):
        rows = _rows(world, index, questions_per_clip)
        lines.extend(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = folder / RECORDS
    write_text_atomically(path, "".join(lines))
    return path


def _rows(world: WorldSettings, index: int, limit: int) -> list[dict[str, Any]]:
    """Records of one clip as JSON objects: one a question, in the schema of `pave.data.Record`."""
    scene = world.scene(index)
    media = f"{CLIPS}/{scene.name}.mp4"
    rows = []
    for number, question in enumerate(questions_for(scene, limit)):
        meta = {
            "family": question.family,
            "channel": question.channel,
            "clip": scene.name,
            "unseen": scene.unseen,
        }
        if world.pairs:  # whom it meets when channels are exchanged
            meta["pair"] = pair_of(scene)
        row = {
            "id": f"{scene.name}-{number}",
            "video": media,
            "channels": channels_of(scene),
            "turns": [{"question": question.question, "answer": question.answer}],
            "answers": [question.answer],
            "meta": meta,
        }
        rows.append(row)
    return rows
