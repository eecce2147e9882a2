"""`check_records`: what is wrong with records, before a GPU is rented.

All of it at once, with a few examples of each kind, however many there are. Nothing is decoded: of
a clip its header is read, or the times of its frames where that does not tell its length. Worker
processes do it, since a broken file may end the process that reads it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pave.bases.base import Base
from pave.bases.inputs import FrameWord
from pave.bases.pace import sampling_of
from pave.bases.visual import Clip
from pave.cache.digest import content_digest
from pave.data.lengths import must_fit
from pave.data.record import Record, media_of
from pave.data.records import placed_records
from pave.data.sources import Source, title_of
from pave.data.store import Records
from pave.errors import MediaError, PaveError, RecordError
from pave.files import regular_file
from pave.media import probe, read_frames
from pave.media.archive import archive_of, is_there, split_member
from pave.media.folder import folder_times
from pave.media.limits import CLIP_SECONDS, limit
from pave.workers import Workers

SHOWN = 5
"""Examples of each kind of problem."""

Progress = Callable[[int, int], None]


@dataclass
class Problem:
    """One kind of problem.

    Attributes:
        count: How often it was found.
        examples: The first few.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Note one more."""
        self.count += 1
        if len(self.examples) < SHOWN:
            self.examples.append(example)


@dataclass
class RecordsCheck:
    """What `check_records` found.

    Attributes:
        source: What was looked at.
        records: Records that can be read.
        clips: Clips that they are about.
        unanswered: Records whose last question has no answer.
        channels: Channel -> records that have it.
        seconds: Length of each clip that was opened; folders of frames have none.
        clip_tokens: Visual tokens of the first clip, where a base was given.
        text_tokens: Tokens of each record's questions and answers, where a base was given.
        problems: What would end a run, by kind.
    """

    source: str
    records: int = 0
    clips: int = 0
    unanswered: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    clip_tokens: int | None = None
    text_tokens: list[int] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        """Note a problem."""
        self.problems.setdefault(kind, Problem()).add(example)

    def as_dict(self) -> dict[str, object]:
        """As JSON values; lengths as their least, middle and greatest."""
        return {
            "source": self.source,
            "records": self.records,
            "clips": self.clips,
            "unanswered": self.unanswered,
            "channels": dict(self.channels),
            "seconds": spread(self.seconds),
            "clip_tokens": self.clip_tokens,
            "text_tokens": spread(self.text_tokens),
            "problems": {kind: vars(problem) for kind, problem in self.problems.items()},
        }


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Least, middle, greatest and sum of some numbers; None of none.

    Example:
        >>> spread([1, 4, 2])
        {'min': 1, 'median': 2, 'max': 4, 'sum': 7}
    """
    if not values:
        return None
    return {
        "min": min(values),
        "median": median(values),
        "max": max(values),
        "sum": sum(values),
    }


def check_records(
    source: Source,
    *,
    against: Sequence[Source] = (),
    base: Base | None = None,
    frames: FrameWord | None = None,
    fast: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> RecordsCheck:
    """Look for everything that would end a run on some records.

    Args:
        source: As for `open_records`.
        against: Other splits, whose clips must be others.
        base: Counts tokens, and finds records that are longer than its context; weights are not
            needed.
        frames: Frames of a clip, for the visual tokens.
        fast: Leave the clips closed: only look whether they are there.
        workers: Processes that open clips.
        progress: Called with `(done, total)` after each clip.

    Returns:
        What was found; nothing that is wrong with the records is raised.

    Raises:
        RecordError: If the source itself, or another split, cannot be read.

    Example:
        >>> found = check_records("train.jsonl", against=["test.jsonl"])  # doctest: +SKIP
        >>> found.problems["missing media"].count  # doctest: +SKIP
        3
    """
    found = RecordsCheck(title_of(source))
    records = _read(source, found)
    # First what the rows say by themselves, then what lies behind them.
    for first, second in records.doubles():
        record = records[second]
        found.add("double ids", f"{records.place(second)}: {record.id}, as {records.place(first)}")
    clips = records.clips()
    found.clips = len(clips)
    # All records of a clip name the same media, so one stands for them.
    firsts = [clip[0] for clip in clips]
    there = _there(firsts, found)
    # The one part whose time grows with the clips' files.
    if not fast:
        _open_all(there, found, workers, progress)
    videos = {record.video for record in firsts}
    for other in against:
        _must_be_apart(videos, other, found)
    if base is not None:
        _count_tokens(records, base, frames, found)
    return found


def _read(source: Source, found: RecordsCheck) -> Records:
    """The records that can be read; the rows that cannot are noted."""
    records = Records()
    lacking = Problem()
    for place, record in placed_records(source):
        if isinstance(record, RecordError):
            # Its message names the place already.
            found.add("broken rows", str(record))
            continue
        records.add(record, place)
        found.channels.update(record.channels.keys())
        if record.turns[-1].answer is None:
            lacking.add(f"{place}: {record.id}")
    records.close()
    found.records, found.unanswered = len(records), lacking.count
    # A file of questions only is one for `pave ask --batch`; a few without are left out by mistake.
    if 0 < lacking.count < len(records):
        found.problems["without an answer"] = lacking
    if not records and not found.problems:
        found.add("no records", f"{found.source} holds none")
    return records


def _there(records: Iterable[Record], found: RecordsCheck) -> list[str]:
    """The clips that can be opened, each once; what is missing or no file is noted."""
    videos: dict[str, None] = {}  # keeps the order of the file
    seen: set[str] = set()
    for record in records:
        for path in media_of([record]):
            # A channel may be a track of the clip itself, and two clips may share one.
            if path in seen:
                continue
            seen.add(path)
            if not is_there(path):
                found.add("missing media", f"{record.id}: {path}")
                continue
            try:
                if not os.path.isdir(path):
                    regular_file(archive_of(path), RecordError, "a media file")
            except RecordError as error:
                found.add("no files", f"{record.id}: {error}")
                continue
            if path == record.video:
                videos[path] = None
    return list(videos)


def _open_all(
    videos: Sequence[str], found: RecordsCheck, workers: int, progress: Progress | None
) -> None:
    """Read the length of every clip; those that cannot be read are noted."""
    with (
        Workers(threads=1, device="cpu", seconds=limit(CLIP_SECONDS)) as processes,
        ThreadPoolExecutor(workers, thread_name_prefix="pave-check") as pool,
    ):

        def length(video: str) -> float | str | None:
            # What is wrong comes back as a text: the other clips go on.
            try:
                seconds: float | None = processes.call(video, seconds_of, video)
            except PaveError as error:
                return str(error)
            return seconds

        for done, seconds in enumerate(pool.map(length, videos), 1):
            if isinstance(seconds, str):
                found.add("unreadable clips", seconds)
            elif seconds is not None:
                found.seconds.append(seconds)
            if progress is not None:
                progress(done, len(videos))


def seconds_of(video: str) -> float | None:
    """Length of a clip; None of a folder of frames, which has no clock of its own.

    Raises:
        MediaError: If it cannot be read, or shows no picture.
    """
    if os.path.isdir(video):
        folder_times(Path(video), 1.0)  # complains where it holds no picture
        return None
    info = probe(video)
    if info.video is None:
        raise MediaError(f"{video}: holds no picture track; give a video file")
    return info.duration


def _must_be_apart(videos: set[str], other: Source, found: RecordsCheck) -> None:
    """Note clips that another split has, too: under the same name, or with the same bytes."""
    by_size: dict[int, list[str]] = {}  # bytes -> clips of so many
    for video in videos:
        size = _size(video)
        if size is not None:
            by_size.setdefault(size, []).append(video)
    seen: set[str] = set()
    for _, record in placed_records(other):
        # What is broken there shows when that split is checked.
        if isinstance(record, RecordError) or record.video in seen:
            continue
        seen.add(record.video)
        if record.video in videos:
            found.add("clips in two splits", f"{record.video} is in {title_of(other)}, too")
            continue
        # Only files of one size can be alike, so that few are read.
        for video in by_size.get(_size(record.video) or -1, []):
            if content_digest(video) == content_digest(record.video):
                found.add("clips in two splits", f"{video} is {record.video} in {title_of(other)}")
                break


def _size(video: str) -> int | None:
    """Bytes of a clip that is a file of its own."""
    if split_member(video) is not None or not os.path.isfile(video):
        return None
    return os.path.getsize(video)


def _count_tokens(
    records: Records, base: Base, frames: FrameWord | None, found: RecordsCheck
) -> None:
    """Count the tokens of all texts, and of the first clip; note records that are too long."""
    clip = _first_clip(records, base, frames)
    if clip is not None:
        found.clip_tokens = clip.text.count(base.family.placeholder)
    # Some hundred texts at once take a tokenizer a fraction of the time.
    for some in _batches(records, 256):
        texts = [_text(record) for record in some]
        found.text_tokens += map(len, base.tokenizer(texts)["input_ids"])
        if clip is None:
            continue
        # Every clip is taken to have the tokens of the first.
        for record in some:
            turns = [(turn.question, turn.answer) for turn in record.turns]
            try:  # by the rule that training and evaluation go by
                must_fit(base, clip, record, turns)
            except RecordError as error:
                found.add("too long", str(error))


def _first_clip(records: Records, base: Base, frames: FrameWord | None) -> Clip | None:
    """The first clip that can be read, as the base is given it; None where there is none."""
    for clip in records.clips()[:SHOWN]:
        try:
            return base.clip(read_frames(clip[0].video, sampling_of(base, frames)))
        except MediaError:  # noted before
            continue
    return None


def _batches(records: Sequence[Record], size: int) -> Iterator[list[Record]]:
    """The records, some at a time."""
    for begin in range(0, len(records), size):
        yield list(records[begin : begin + size])


def _text(record: Record) -> str:
    """All that is said in a record."""
    return " ".join(f"{turn.question} {turn.answer or ''}" for turn in record.turns)
