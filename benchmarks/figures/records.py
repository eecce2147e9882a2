"""A million records: seconds and memory until a run knows what it trains on, and to check them.

The records are a JSONL file of 1,000,000 questions about 100,000 clips with sound, whose files are
there and empty. "ours" reads and checks them all, groups them by clip, plans an epoch, and reads
every record once more, as a training does before its first step. The peer of the memory is a list
of the same records, measured on a tenth of them and multiplied.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import Row, peak_growth, spent

from pave.data import open_records, read_records
from pave.data.check import check_records
from pave.train.config import TrainConfig
from pave.train.lessons import lessons_of, read_files

RECORDS, CLIPS = 1_000_000, 100_000
SECONDS, MEGABYTES = 180.0, 300.0  # what a start may take


def write(file: Path, records: int, clips: int) -> Path:
    """A file of questions, ten about every clip, and the empty files of the clips."""
    for number in range(clips):
        (file.parent / f"{number}.mp4").touch()
    with file.open("w", encoding="utf-8") as opened:
        for number in range(records):
            clip = f"{number % clips}.mp4"
            turn = {"question": "Which animal do you hear first?", "answer": "a dog"}
            row = {"id": f"q{number}", "video": clip, "channels": {"audio": clip}, "turns": [turn]}
            row |= {"answers": ["a dog"], "meta": {"family": "existence", "channel": "audio"}}
            opened.write(json.dumps(row) + "\n")
    return file


def start(file: Path) -> None:
    """What a training does with its records before the first step."""
    config = TrainConfig(records=file, out=file.parent / "run")
    lessons = lessons_of(config, read_files(config))
    assert len(lessons.clips) == CLIPS
    for group in lessons.groups:
        for record in group:
            assert record.turns[-1].answer
    lessons.plan[0]


def measure() -> list[Row]:
    """Seconds and memory of a start and of a check; memory of the list that it was."""
    with TemporaryDirectory() as scratch:
        file = write(Path(scratch) / "records.jsonl", RECORDS, CLIPS)
        few = write(Path(scratch) / "few.jsonl", RECORDS // 10, CLIPS // 10)
        open_records(few)  # warm
        with peak_growth() as grown:
            seconds = spent(lambda: start(file))
            ours = grown()
        checked = spent(lambda: check_records(file, fast=True))
        with peak_growth() as grown:
            kept = read_records(few)
            listed = 10 * grown()
        assert len(kept) == RECORDS // 10
    title = "1,000,000 records about 100,000 clips"
    note = f"a list of them: {listed:,.0f} MB"
    return [
        Row.limit(f"start of a training on {title}", [seconds], SECONDS),
        Row.limit(f"memory of that start, {title}", [ours], MEGABYTES, "MB", note),
        Row.limit(f"pave records check --fast, {title}", [checked], SECONDS),
    ]
