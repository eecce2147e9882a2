"""An evaluation as `pave eval` leaves it, made from answers and without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pave.data import Record, Turn, read_records, write_records
from pave.evaluate.report import Report, write_report
from pave.evaluate.scores import Asked, score_arms
from pave.files import sha256_of
from pave.media import write_video
from pave.tasks import EXACT, get_task
from pave.tasks.items import items_of
from pave.tasks.score import write_rows

RATE = 24_000
TONE = 440.0
"""Hertz of every clip's sound."""


def clip(path: Path, number: int, seconds: float = 1.0) -> Path:
    """A clip of one colour, red, green or blue, with a tone."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., number % 3] = 220
    moments = np.arange(int(seconds * RATE)) / RATE
    sound = 0.5 * np.sin(2 * np.pi * TONE * moments).astype(np.float32)
    return write_video(path, [picture] * int(10 * seconds), 10, sound, RATE)


def make(
    folder: Path,
    said: Mapping[str, Sequence[str]],
    *,
    clips: int,
    question: str = "What do you hear?",
    expected: str = "a bell",
) -> Path:
    """The out folder of an evaluation.

    Args:
        folder: Where clips, records and the run go.
        said: Arm -> its answers, question by question.
        clips: Number of clips; the questions are dealt out over them in turn.
        question: What is asked.
        expected: The right answer.
    """
    for number in range(clips):
        clip(folder / "clips" / f"{number}.mp4", number)
    records = []
    count = len(next(iter(said.values())))
    for number in range(count):
        video = f"clips/{number % clips}.mp4"
        record = Record(
            id=f"q{number}",
            video=video,
            channels={"audio": video},
            turns=[Turn(question=question, answer=expected)],
            meta={"family": "heard" if number % 2 else "exists", "channel": "audio"},
        )
        records.append(record)
    write_records(folder / "records.jsonl", records)
    return evaluated(folder, said)


def evaluated(folder: Path, said: Mapping[str, Sequence[str]]) -> Path:
    """Score the answers, and write what `pave eval` writes."""
    file, out = folder / "records.jsonl", folder / "run"
    records = read_records(file, check_media=False)
    items = {}
    for arm, answers in said.items():
        own = dict(zip([record.id for record in records], answers, strict=True))
        items[arm] = items_of(get_task(EXACT), records, own)
    asked = Asked("unknown", "", len(records))
    scores, rows = score_arms(get_task(EXACT), items, asked, resamples=100, seed=0)
    for arm, own in rows.items():
        write_rows(out / "items" / f"{arm}.jsonl", own)
    report = Report(
        task=scores,
        clips=len({record.video for record in records}),
        seconds={"load": 1.0},
        peak_rss_mb=1.0,
        trainable_parameters={},
        seeds={},
        versions={},
        command="pave eval --records records.jsonl",
        settings={"records": str(file)},
    )
    write_report(report, out)
    note = {"records": sha256_of(file)}
    (out / "settings.json").write_text(json.dumps(note), encoding="utf-8")
    return out
