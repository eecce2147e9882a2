"""Invented mini data sets in the public formats of all ten tasks: annotation files, and the names of the media they want.

`make(task, folder, clip)` writes both; media are links to (or copies of) one clip, so that they can be decoded, or empty files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.tasks import TASKS

OPTIONS = ["dog", "cat", "piano", "bell"]


@dataclass(frozen=True)
class MiniSet:
    """Where a mini data set lies."""

    task: str
    split: str
    annotations: list[Path]
    media: Path
    examples: int
    learnt: list[Path]
    """Annotations to train on: the same files where the formats of all splits are one."""


def _avsd() -> tuple[dict[str, Any], list[str], str, int]:
    dialogue = [{"question": f"what is there {n} ?", "answer": f"there is a {OPTIONS[n % 4]} number {n}"} for n in range(4)]
    dialogs = [{"image_id": f"V{n}", "dialog": dialogue[: n + 2]} for n in range(2)]
    return {"mock_test.json": {"dialogs": dialogs}}, ["V0.mp4", "V1.mp4"], "test", 2


def _avqa() -> tuple[dict[str, Any], list[str], str, int]:
    rows = [
        {"id": n, "video_name": f"clip_00000{n % 2}", "question_text": "What sounds?", "multi_choice": OPTIONS, "answer": n}
        | {"question_relation": ["Sound", "Both"][n % 2], "question_type": "Come From"}
        for n in range(4)
    ]
    return {"val_qa.json": rows}, ["clip_000000.mp4", "clip_000001.mp4"], "val", 4


def _music_avqa() -> tuple[dict[str, Any], list[str], str, int]:
    kinds = [("Audio", "Counting", "two"), ("Visual", "Location", "left"), ("Audio-Visual", "Temporal", "piano")]
    rows = [
        {"video_id": video, "question_id": n, "type": json.dumps(kind[:2]), "anser": kind[2], "question_deleted": 0}
        | {"question_content": "How is the <Object>?", "templ_values": '["flute"]'}
        for n, (video, kind) in enumerate(zip(("00000001", "00000001", "sy00002"), kinds, strict=True))
    ]
    media = ["MUSIC-AVQA-videos-Real/00000001.mp4", "MUCIS-AVQA-videos-Synthetic/sy00002.mp4"]
    return {"avqa-test.json": rows}, media, "test", 3


def _scanqa() -> tuple[dict[str, Any], list[str], str, int]:
    rows = [
        {"scene_id": f"scene000{n}_00", "question_id": f"val-{n}", "question": "What is brown?", "answers": answers}
        | {"object_ids": [n], "object_names": ["table"]}
        for n, answers in enumerate([["brown table", "table"], ["2 red chairs"]])
    ]
    return {"ScanQA_v1.0_val.json": rows}, ["scene0000_00/0.jpg", "scene0001_00/0.jpg"], "val", 2


def _sqa3d() -> tuple[dict[str, Any], list[str], str, int]:
    questions = [
        {"scene_id": "scene0000_00", "question_id": n, "situation": "I stand.", "question": "Is it on?"} for n in (1, 2)
    ]
    place = {"position": {"x": 0, "y": 0, "z": 0}, "rotation": {"_x": 0, "_y": 0, "_z": 0, "_w": 1}}
    annotations = [
        {"question_id": n, "scene_id": "scene0000_00", "answers": [{"answer": a}]} | place for n, a in ((1, "yes"), (2, "no"))
    ]
    files = {"questions.json": {"questions": questions}, "annotations.json": {"annotations": annotations}}
    return files, ["scene0000_00/0.jpg"], "test", 2


def _ego_exo4d() -> tuple[dict[str, Any], list[str], str, int]:
    folder = "takes/t{}/frame_aligned_videos"
    rows = [
        {"take_uid": f"u{n}", "task_name": "Jump", "scenario_name": "Dance", "proficiency_score": level}
        | {"video_paths": {name: f"{folder.format(n)}/{name}.mp4" for name in ("ego", "exo1", "exo2")}}
        for n, level in enumerate(["Novice", "Late Expert"])
    ]
    media = [f"{folder.format(n)}/downscaled/448/{name}.mp4" for n in range(2) for name in ("ego", "exo1", "exo2")]
    return {"proficiency_demonstrator_val.json": {"annotations": rows}}, media, "val", 2


def _llava_video() -> tuple[dict[str, Any], list[str], str, int]:
    talk = [{"from": "human", "value": "<image>\nWhat happens?"}, {"from": "gpt", "value": "A dog runs."}]
    rows = [{"id": name, "conversations": talk, "data_source": "x", "video": f"academic_source/{name}.mp4"} for name in "abaa"]
    return {"1_2_m_academic_oe_v0_1_qa_processed.json": rows}, ["academic_source/a.mp4", "academic_source/b.mp4"], "train", 3


def _videomme() -> tuple[dict[str, Any], list[str], str, int]:
    rows = [
        {
            "videoID": f"yt{n}",
            "question_id": f"00{n}-1",
            "duration": duration,
            "task_type": "Counting Problem",
            "answer": "BC"[n],
        }
        | {"question": "Which?", "options": [f"{letter}. {text}." for letter, text in zip("ABCD", OPTIONS, strict=True)]}
        for n, duration in enumerate(["short", "long"])
    ]
    return {"videomme.json": rows}, ["data/yt0.mp4", "data/yt1.mp4"], "test", 2


def _mvbench() -> tuple[dict[str, Any], list[str], str, int]:
    row = {"question": "What happened?", "candidates": OPTIONS, "answer": "cat"}
    files = {"state_change.json": [{**row, "video": "a.mp4"}], "action_sequence.json": [{**row, "video": "b.mp4", "start": 1}]}
    return files, ["perception/videos/a.mp4", "star/Charades_segment/b.mp4"], "test", 2


def _mlvu() -> tuple[dict[str, Any], list[str], str, int]:
    question = "Which?\n" + "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", OPTIONS, strict=True))
    rows = [
        {"video_name": f"m{n}.mp4", "question": question, "candidates": OPTIONS, "answer": "D", "task_type": "TR"}
        for n in range(2)
    ]
    return {"mlvu.json": rows}, ["m0.mp4", "m1.mp4"], "test", 2


_MAKERS: dict[str, Callable[[], tuple[dict[str, Any], list[str], str, int]]] = {
    "avsd": _avsd,
    "avqa": _avqa,
    "music-avqa": _music_avqa,
    "scanqa": _scanqa,
    "sqa3d": _sqa3d,
    "ego-exo4d": _ego_exo4d,
    "llava-video": _llava_video,
    "videomme": _videomme,
    "mvbench": _mvbench,
    "mlvu": _mlvu,
}
assert set(_MAKERS) == set(TASKS)


def _write(folder: Path, files: dict[str, Any]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return [folder / name for name in files]


def make(task: str, folder: Path, clip: Path | None = None) -> MiniSet:
    """Write a mini data set below `folder`; every medium is a copy of `clip`, or an empty file."""
    files, media, split, examples = _MAKERS[task]()
    written = learnt = _write(folder / "annotations", files)
    if task == "avsd":  # its test set comes in a challenge's format
        dialogue = files["mock_test.json"]["dialogs"][0]["dialog"]
        learnt = _write(folder / "training", {"avsd_train.json": {f"V{n}": {"data": dialogue} for n in range(2)}})
    for name in media:
        file = folder / "media" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if clip is None:
            file.write_bytes(b"")
        else:
            shutil.copy(clip, file)
    return MiniSet(task, split, written, folder / "media", examples, learnt)
