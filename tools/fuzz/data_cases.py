"""Features, records, annotations of the tasks, predictions and scores."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from case import Case, all_of
from safetensors.torch import save_file

from helpers import minisets, paper
from pave.channels import make_encoder
from pave.data import group_by_clip, read_records, write_records
from pave.evaluate.compare import compare_files
from pave.evaluate.score import score_files
from pave.metrics import captions
from pave.paper.annotations import read_annotations
from pave.tasks import get_task
from pave.tasks.files import read_predictions
from pave.tasks.prepare import prepare, write
from pave.tasks.score import write_rows

DIM = 8
FEATURES = ("npy", "pt", "pth", "safetensors")
AUTHORS = {"audio": (6, DIM), "frames": (4, 5, DIM), "scene3d": (1, 8, DIM), "views": (4, 4, DIM)}
"""Channel -> shape of the authors' files."""


def no_java() -> None:
    """Caption scores without METEOR: a Java a score would be all that is tried."""
    captions.find_java = lambda: None


def build_features(ending: str, folder: Path) -> None:
    """Tokens with times."""
    values = torch.arange(6.0 * 2 * DIM).reshape(6, 2, DIM)
    times = torch.arange(6.0, dtype=torch.float64)
    file = folder / f"medium.{ending}"
    if ending == "npy":
        np.save(file, values.numpy())
        np.save(folder / "medium.times.npy", times.numpy())
    elif ending == "safetensors":
        save_file({"values": values, "times": times}, file)
    else:
        old = ending == "pth"  # torch's format before its zip
        content = {"values": values, "times": times}
        torch.save(content, file, _use_new_zipfile_serialization=not old)


def read_features(ending: str, folder: Path) -> None:
    """As the encoder of precomputed tokens reads them."""
    make_encoder("features", "file", {"dim": DIM}).encode(folder / f"medium.{ending}")


def build_authors(channel: str, folder: Path) -> None:
    """A feature file of the authors' data sets; one a camera for views."""
    for number in range(2 if channel == "views" else 1):
        torch.save(torch.rand(AUTHORS[channel]), folder / f"{number}.pt")


def read_authors(channel: str, folder: Path) -> None:
    """As the authors' encoder reads them."""
    settings: dict[str, Any] = {"dim": DIM}
    if channel == "scene3d":
        settings["vhw"] = (2, 2, 2)
    source = folder if channel == "views" else folder / "0.pt"
    make_encoder(channel, "official", settings).encode(source)


def build_records(folder: Path) -> None:
    """Records of every form that a channel's media may have."""
    for name in ("a.mp4", "b.mp4", "a.npy", "s.npz"):
        (folder / name).write_bytes(b"")
    turn = {"question": "What sounds?", "answer": "a dog"}
    rows: list[dict[str, Any]] = [
        {"id": "1", "video": "a.mp4", "channels": {"audio": "a.mp4"}, "turns": [turn]},
        {"id": "2", "video": "b.mp4", "channels": {"views": ["a.mp4", "b.mp4"]}, "turns": [turn]},
        {
            "id": "3",
            "video": "a.mp4",
            "channels": {"scene3d": {"arrays": "s.npz"}},
            "turns": [turn],
        },
    ]
    rows[0] |= {
        "answers": ["dog"],
        "options": ["dog", "cat"],
        "meta": {"family": "f", "needs": "x"},
    }
    _write_lines(folder / "records.jsonl", rows)


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_and_write_records(folder: Path) -> None:
    """There and back."""
    records = read_records(folder / "records.jsonl")
    group_by_clip(records)
    again = write_records(folder / "again.jsonl", records)
    if read_records(again) != records:
        raise AssertionError("records change on the way through a file")


def build_task(task: str, folder: Path) -> None:
    """A mini data set, its records, and predictions of them that are right."""
    made = minisets.make(task, folder)
    out = folder / "made" / "records.jsonl"
    write(prepare(get_task(task), made.annotations, made.media, made.split), out)
    records = read_records(out, check_media=False)
    said = [{"id": record.id, "prediction": (record.answers or ["dog"])[0]} for record in records]
    _write_lines(folder / "made" / "said.jsonl", said)


def read_task(task: str, folder: Path) -> None:
    """Prepare in both styles, and read what came out."""
    split = minisets._MAKERS[task]()[2]
    chosen = get_task(task)
    places = ([folder / "annotations"], folder / "media", split)

    def in_style(style: Any) -> None:
        found = prepare(chosen, *places, style=style)
        read_records(write(found, folder / f"{style}.jsonl", allow_missing=True))

    all_of(partial(in_style, "default"), partial(in_style, "authors"))


def score_task(task: str, folder: Path) -> None:
    """Score predictions of records, compare them with themselves."""
    chosen, made = get_task(task), folder / "made"
    said, records = made / "said.jsonl", made / "records.jsonl"

    def score(style: Any) -> None:
        _, rows = score_files(chosen, said, records=records, style=style, resamples=100)
        write_rows(folder / "items.jsonl", rows)
        compare_files(folder / "items.jsonl", folder / "items.jsonl", resamples=100)

    all_of(
        lambda: read_predictions(said),
        lambda: score("default"),
        lambda: score("authors"),
    )


def build_items(folder: Path) -> None:
    """The items of two arms."""
    for number, name in enumerate("ab"):
        rows = []
        for row in range(6):
            scores = {"accuracy": float((row + number) % 2)}
            rows.append({"id": str(row), "cluster": f"v{row // 2}", "scores": scores})
            rows[-1] |= {"labels": ["f"], "style": "default"}
        _write_lines(folder / f"{name}.jsonl", rows)


def compare_items(folder: Path) -> None:
    """As `pave compare`."""
    compare_files(folder / "a.jsonl", folder / "b.jsonl", resamples=100)


def build_official(folder: Path) -> None:
    """The authors' annotation file with its mapping files."""
    shutil.copytree(paper.DATA, folder, dirs_exist_ok=True)


def read_official(folder: Path) -> None:
    """As a training on the authors' files."""
    read_annotations(
        folder / "anno.json",
        channel="audio",
        features=folder / "fast.json",
        videos=folder / "slow.json",
        feature_root=folder / "feat",
        video_root=folder / "vid",
    )


def _cases() -> list[Case]:
    found = []
    for ending in FEATURES:
        build = partial(build_features, ending)
        found.append(Case(f"features/{ending}", build, partial(read_features, ending)))
    for channel in AUTHORS:
        build = partial(build_authors, channel)
        found.append(Case(f"features/authors-{channel}", build, partial(read_authors, channel)))
    damaged = ("records.jsonl",)
    found.append(Case("records/records", build_records, read_and_write_records, damaged))
    found.append(Case("records/items", build_items, compare_items))
    for task in minisets.TASKS:
        build = partial(build_task, task)
        given = ("annotations/*",)
        found.append(Case(f"annotations/{task}", build, partial(read_task, task), given))
        # Training sets have nothing to score.
        if get_task(task).score is not None:
            made = ("made/*.jsonl",)
            score = partial(score_task, task)
            found.append(Case(f"records/score-{task}", build, score, made, ready=no_java))
    files = ("anno.json", "fast.json", "slow.json")
    found.append(Case("annotations/authors", build_official, read_official, files))
    return found


CASES = _cases()
