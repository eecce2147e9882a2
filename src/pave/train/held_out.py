"""What a run is validated on: clips of a file of their own, or some that training then leaves out.

Which clips are held out follows from the seed and the order of the records alone, so a control
holds out the same ones, and a resumed run, too.
"""

from __future__ import annotations

import hashlib
import logging
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pave.data import Features, Record, Records, clip_key, group_by_clip, open_records
from pave.errors import ConfigError, RecordError
from pave.registry import did_you_mean
from pave.tasks import EXACT, Task, get_task
from pave.tasks.items import items_of, references_of
from pave.tasks.score import task_for
from pave.texts import counted
from pave.train.config import TrainConfig
from pave.train.processes import gathered

log = logging.getLogger(__name__)

MOST_CLIPS = 200
"""Held out where nobody says how many: enough to see a trend, few enough to be asked often."""
ONE_IN = 10
Files = Mapping[str, Records]


@dataclass(frozen=True)
class Exam:
    """What a patch is asked while it trains.

    Attributes:
        records: The questions.
        task: What scores the answers.
        metric: The score that decides which step is best.
        held_out: Whether they were taken out of the training records.
    """

    records: Sequence[Record]
    task: Task
    metric: str
    held_out: bool

    def scores(self, said: Mapping[str, str]) -> dict[str, float]:
        """Name -> score, of answers by the ids of their records."""
        return _scores(self.task, self.records, said)


def split_files(config: TrainConfig, files: Files) -> tuple[Files, Exam | None]:
    """The records to train on, file by file, and what to validate on.

    Args:
        config: The settings.
        files: All records by the name of their file.

    Raises:
        RecordError: If the validation records cannot be read or scored.
        ConfigError: If nothing would be left to train on, or no validation record has a channel of
            the patch, or the task has no such score.
    """
    if config.validation is None:
        return files, None
    if config.validation.records is None:
        files, asked = _take_out(config, files)
    else:
        asked = []
        clips = group_by_clip(open_records(config.validation.records))
        for members in clips[: config.validation.clips]:
            asked += members
    _check(config, asked)
    task = _task(config, asked)
    metric = _metric(task, asked, config.validation.metric)
    return files, Exam(asked, task, metric, held_out=config.validation.records is None)


def tell_shared(
    features: Features, mine: Sequence[Record], asked: Sequence[Record], config: TrainConfig
) -> None:
    """Say how many validation clips are trained on, too, under whatever name.

    Args:
        features: Knows the content of clips, of which the token cache has all by now.
        mine: A record of each training clip of this process.
        asked: The validation records.
        config: The settings.
    """

    def content(record: Record) -> tuple[str, ...]:
        keys = [features.visual_key(record.video)]
        for name, encoder in features.encoders.items():
            # Of a mixture, a file may show the clip without its channel.
            if encoder.channel in record.channels and config.mixture is None:
                keys.append(features.channel_key(record, name))
        return tuple(keys)

    # By content, as the token cache knows it: a copy of a clip tells its answers, too.
    clips = set(map(content, asked))
    shared: set[tuple[str, ...]] = set()
    for found in gathered(clips & set(map(content, mine))):
        shared |= found
    if shared:
        log.warning(
            "%d of %d validation clips are trained on, too; their scores say little of new clips",
            len(shared),
            len(clips),
        )


def _take_out(config: TrainConfig, files: Files) -> tuple[Files, list[Record]]:
    """Some clips out of the files; the others stay as they are."""
    assert config.validation is not None
    numbers = _clip_numbers(files, whole_videos=config.mixture is not None)
    clips = int(numbers.max()) + 1
    count = config.validation.clips or min(MOST_CLIPS, max(1, clips // ONE_IN))
    if count >= clips:
        raise ConfigError(
            f"validation would take {count} of {counted(clips, 'clip')}, and none would be left to "
            "train on; set validation.clips lower, or give validation.records"
        )
    # Seeded with text, which Python hashes alike on every machine.
    chosen = random.Random(f"{config.seed}/validation").sample(range(clips), count)
    # A second pass, since which clips there are is known only after the first.
    taken = iter(np.isin(numbers, chosen).tolist())  # one answer a record
    left: dict[str, Records] = {}
    asked: list[Record] = []
    for name, records in files.items():
        left[name] = Records()
        for number, record in enumerate(records):
            if next(taken):
                asked.append(record)
            else:
                # On the disk again, so that a million records stay out of memory.
                left[name].add(record, records.place(number))
        left[name].close()
        if not left[name]:
            raise ConfigError(
                f"validation would take all clips of mixture.files.{name}; set validation.clips "
                "lower, or give validation.records"
            )
    return left, asked


def _clip_numbers(files: Files, *, whole_videos: bool) -> npt.NDArray[np.int64]:
    """The number of each record's clip, `[records]`, counted as clips first come.

    Args:
        files: The records.
        whole_videos: Whether all clips of one video count as one: of a mixture, files may show a
            video with a channel each.
    """
    digests = array("Q")  # 8 bytes a record, however many there are
    for records in files.values():
        for record in records:
            text = clip_key(record)
            if whole_videos:
                text = record.video
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            digests.append(int.from_bytes(digest, "little"))
    keys = np.frombuffer(digests, dtype=np.uint64)
    _, firsts, places = np.unique(keys, return_index=True, return_inverse=True)
    # Not by digest, which holds where a clip lies: a moved data set is split as before.
    order = np.argsort(np.argsort(firsts))
    return np.asarray(order[places], dtype=np.int64)


def _check(config: TrainConfig, asked: Sequence[Record]) -> None:
    """Refuse records that have no answer, or nothing of what the patch adds."""
    for record in asked:
        references_of(record)
    channels = set(config.parts)
    # The control has no channel, and is asked the same as the patch.
    if not channels or any(channels & record.channels.keys() for record in asked):
        return
    raise RecordError(
        f"no validation record names the channel {' or '.join(config.parts)}, so the patch would "
        "be off in all of them; give records whose clips have it"
    )


def _task(config: TrainConfig, records: Sequence[Record]) -> Task:
    """What scores the records: the run's task, or exact match where that has no scores."""
    name = config.task or EXACT
    if get_task(name).score is None:  # it is only trained on
        name = EXACT
    return task_for(name, records)


def _metric(task: Task, records: Sequence[Record], wanted: str | None) -> str:
    """The score that decides.

    Raises:
        ConfigError: If the task has no such score.
    """
    # A task says which scores it has when it scores something: answers that are right.
    perfect = {record.id: references_of(record)[0] for record in records}
    items = items_of(task, records, perfect)
    assert task.score is not None  # as `task_for` made sure
    scored = task.score(items, "default")
    names = list(_scores(task, records, perfect))
    if wanted is None:
        return next(name for name in (*scored.table, *names) if name in names)
    if wanted not in names:
        raise ConfigError(
            f"validation.metric: {task.title} has no score "
            f"{wanted!r}{did_you_mean(wanted, names)}; it has {', '.join(names)}"
        )
    return wanted


def _scores(
    task: Task,
    records: Sequence[Record],
    said: Mapping[str, str],
) -> dict[str, float]:
    assert task.score is not None
    scored = task.score(items_of(task, records, said), "default")
    found = {}
    for name, score in scored.scores.items():
        if score is not None:  # METEOR without Java
            found[name] = float(score)
    return found
