"""Invented mini data sets in the public formats of all ten tasks, about two clips each.

`films(folder)` makes the clips: a thing that moves and sounds, one that stands, seen by three
cameras. `make(task, folder, films)` writes a task's annotation files, which speak of what the clips
show and sound like, and lays the clips under the names that the data set gives them. Without
`films` the media are empty files, for tests that only look for them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.clips import Picture, tone
from pave.media import write_video
from pave.tasks import list_tasks

SECONDS, RATE, SIZE, CLIPS, CAMERAS = 2.0, 10, 64, 2, 3
SOUNDING, SILENT = ("piano", "drum"), ("lamp", "chair")
"""What moves and sounds in each clip, and what stands there."""
NAMES = ("bell", "piano", "clock", "drum", "horn", "lamp", "chair")
COLOURS = ((220, 60, 40), (40, 90, 220))
Made = tuple[dict[str, Any], Mapping[str, str | int], str, int]
"""Annotation files; medium -> its film, or the number of the scanned clip; split; examples."""


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


def films(folder: Path) -> Path:
    """Film the two clips with every camera, all that the mini data sets show."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(CLIPS):
        sound = tone(SECONDS, hertz=440.0 * (number + 1))
        for camera in range(CAMERAS):
            pictures = [_picture(number, camera, n) for n in range(round(SECONDS * RATE))]
            write_video(folder / _film(number, camera), pictures, RATE, sound)
    return folder


def _film(number: int, camera: int = 0) -> str:
    """A clip below the folder of `films`."""
    return f"{number}-camera{camera}.mp4"


def _picture(number: int, camera: int, frame: int) -> Picture:
    """A square that moves to the right before one that stands; each camera sees them elsewhere."""
    picture = np.full((SIZE, SIZE, 3), 90 + 40 * camera, np.uint8)
    picture[44:60, 44:60] = 250
    left = 4 + 8 * camera + frame
    picture[10:26, left : left + 16] = COLOURS[number]
    return picture


def _options(right: str) -> list[str]:
    """Four names, the right one among them."""
    others = [name for name in NAMES if name != right][:3]
    place = len(right) % 4
    return [*others[:place], right, *others[place:]]


def _avsd() -> Made:
    dialogs = []
    for number in range(CLIPS):
        rounds = [
            {"question": "what can you hear ?", "answer": f"a {SOUNDING[number]}"},
            {"question": "does it move ?", "answer": "yes , to the right"},
        ]
        shown = f"there is a {SOUNDING[number]} and a {SILENT[number]} ."
        last = {"question": "what is there ?", "answer": shown}
        dialogs.append({"image_id": f"V{number}", "dialog": [*rounds, last]})
    return (
        {"mock_test.json": {"dialogs": dialogs}},
        {f"V{n}.mp4": _film(n) for n in range(CLIPS)},
        "test",
        2,
    )


def _avqa() -> Made:
    rows = []
    for n in range(4):
        right = (SOUNDING if n < 2 else SILENT)[n % 2]
        options = _options(right)
        rows.append(
            {
                "id": n,
                "video_name": f"clip_00000{n % 2}",
                "question_text": ["What sounds?", "What is on the left?"][n // 2],
            }
            | {"multi_choice": options, "answer": options.index(right)}
            | {"question_relation": ["Sound", "View"][n // 2], "question_type": "Come From"}
        )
    return (
        {"val_qa.json": rows},
        {f"clip_00000{n}.mp4": _film(n) for n in range(CLIPS)},
        "val",
        4,
    )


def _music_avqa() -> Made:
    asked = [
        (
            "00000001",
            ["Audio", "Counting"],
            "How many sounding <Object>s are there?",
            "thing",
            "one",
        ),
        ("00000001", ["Visual", "Location"], "Where is the <Object>?", SOUNDING[0], "left"),
        (
            "sy00002",
            ["Audio-Visual", "Existential"],
            "Is the <Object> always playing?",
            SILENT[1],
            "no",
        ),
    ]
    rows = [
        {
            "video_id": video,
            "question_id": n,
            "type": json.dumps(kind),
            "anser": answer,
            "question_deleted": 0,
        }
        | {"question_content": text, "templ_values": json.dumps([value])}
        for n, (video, kind, text, value, answer) in enumerate(asked)
    ]
    media = {"MUSIC-AVQA-videos-Real/00000001.mp4": _film(0)}
    media["MUCIS-AVQA-videos-Synthetic/sy00002.mp4"] = _film(1)
    return {"avqa-test.json": rows}, media, "test", 3


def _scanqa() -> Made:
    rows = []
    for n in range(CLIPS):
        row = {"scene_id": f"scene000{n}_00", "question_id": f"val-{n}"}
        row |= {"question": "What is farthest away?", "answers": [f"the {SILENT[n]}", SILENT[n]]}
        rows.append({**row, "object_ids": [n], "object_names": [SILENT[n]]})
    return (
        {"ScanQA_v1.0_val.json": rows},
        {f"scene000{n}_00": n for n in range(CLIPS)},
        "val",
        2,
    )


def _sqa3d() -> Made:
    questions, annotations = [], []
    asked = [("What is on my left side?", SOUNDING[0]), ("What is behind it?", SILENT[0])]
    for n, (question, answer) in enumerate(asked):
        head = {"scene_id": "scene0000_00", "question_id": n}
        questions.append({**head, "situation": "I stand at the camera.", "question": question})
        place = {
            "position": {"x": 0, "y": 0, "z": 0},
            "rotation": {"_x": 0, "_y": 0, "_z": 0, "_w": 1},
        }
        annotations.append({**head, "answers": [{"answer": answer}], **place})
    files = {
        "questions.json": {"questions": questions},
        "annotations.json": {"annotations": annotations},
    }
    return files, {"scene0000_00": 0}, "test", 2


def _ego_exo4d() -> Made:
    rows, media, cameras = [], {}, ("ego", "exo1", "exo2")
    for n, level in enumerate(["Novice", "Late Expert"]):
        folder = f"takes/t{n}/frame_aligned_videos"
        rows.append(
            {
                "take_uid": f"u{n}",
                "task_name": "Look around",
                "scenario_name": "World",
                "proficiency_score": level,
            }
            | {"video_paths": {name: f"{folder}/{name}.mp4" for name in cameras}}
        )
        media |= {
            f"{folder}/downscaled/448/{name}.mp4": _film(n, place)
            for place, name in enumerate(cameras)
        }
    return {"proficiency_demonstrator_val.json": {"annotations": rows}}, media, "val", 2


def _llava_video() -> Made:
    rows = []
    for name, n in (("a", 0), ("b", 1), ("a", 0), ("a", 0)):
        question = ("What moves?", "What stands still?")[len(rows) % 2]
        answer = (SOUNDING, SILENT)[len(rows) % 2][n]
        talk = [
            {"from": "human", "value": f"<image>\n{question}"},
            {"from": "gpt", "value": answer},
        ]
        rows.append(
            {
                "id": name,
                "conversations": talk,
                "data_source": "world",
                "video": f"academic_source/{name}.mp4",
            }
        )
    media = {f"academic_source/{name}.mp4": _film(n) for n, name in enumerate("ab")}
    return {"1_2_m_academic_oe_v0_1_qa_processed.json": rows}, media, "train", 3


def _moving(number: int) -> tuple[str, list[str], str]:
    """What moves through the picture: question, options, answer."""
    right = SOUNDING[number]
    return "What moves to the right?", _options(right), right


def _videomme() -> Made:
    rows = []
    for n, duration in enumerate(["short", "long"]):
        question, options, right = _moving(n)
        listed = [f"{letter}. {text}." for letter, text in zip("ABCD", options, strict=True)]
        rows.append(
            {
                "videoID": f"yt{n}",
                "question_id": f"00{n}-1",
                "duration": duration,
                "task_type": "Action Recognition",
            }
            | {"question": question, "options": listed, "answer": "ABCD"[options.index(right)]}
        )
    return (
        {"videomme.json": rows},
        {f"data/yt{n}.mp4": _film(n) for n in range(CLIPS)},
        "test",
        2,
    )


def _mvbench() -> Made:
    rows = [
        dict(zip(("question", "candidates", "answer"), _moving(n), strict=True))
        for n in range(CLIPS)
    ]
    files = {"state_change.json": [{**rows[0], "video": "a.mp4"}]}
    files["action_sequence.json"] = [{**rows[1], "video": "b.mp4", "start": 0.0, "end": SECONDS}]
    media = {
        "perception/videos/a.mp4": _film(0),
        "star/Charades_segment/b.mp4": _film(1),
    }
    return files, media, "test", 2


def _mlvu() -> Made:
    rows = []
    for n in range(CLIPS):
        question, options, right = _moving(n)
        listed = "\n".join(
            f"({letter}) {text}" for letter, text in zip("ABCD", options, strict=True)
        )
        rows.append(
            {"video_name": f"m{n}.mp4", "question": f"{question}\n{listed}", "candidates": options}
            | {"answer": "ABCD"[options.index(right)], "task_type": "NQA"}
        )
    return {"mlvu.json": rows}, {f"m{n}.mp4": _film(n) for n in range(CLIPS)}, "test", 2


_MAKERS: dict[str, Callable[[], Made]] = {
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
TASKS = tuple(_MAKERS)
"""The benchmarks, in the order of the paper."""
assert set(_MAKERS) <= set(list_tasks())


def _write(folder: Path, files: dict[str, Any]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return [folder / name for name in files]


def _scan(folder: Path, number: int) -> None:
    """A clip as ScanNet lays out its own: colour, depth in millimetres, poses, intrinsics."""
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    matrix = np.eye(4)
    matrix[:3, :3] = [[SIZE, 0, SIZE / 2], [0, SIZE, SIZE / 2], [0, 0, 1]]
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", matrix)
    for frame in range(3):
        picture = _picture(number, 0, 10 * frame)
        depth = np.where(picture[..., 0] == 90, 3000, 1500).astype(np.uint16)  # the wall, things
        pose = np.eye(4)
        pose[0, 3] = 0.1 * frame  # the camera goes to the right
        Image.fromarray(picture).save(folder / "color" / f"{frame}.jpg")
        Image.fromarray(depth).save(folder / "depth" / f"{frame}.png")
        np.savetxt(folder / "pose" / f"{frame}.txt", pose)


def make(task: str, folder: Path, films: Path | None = None) -> MiniSet:
    """Write a mini data set below `folder`; its media are clips of `films`, or empty files."""
    files, media, split, examples = _MAKERS[task]()
    written = learnt = _write(folder / "annotations", files)
    if task == "avsd":  # its test set comes in a challenge's format
        talks = {
            dialogue["image_id"]: {"data": dialogue["dialog"]}
            for dialogue in files["mock_test.json"]["dialogs"]
        }
        learnt = _write(folder / "training", {"avsd_train.json": talks})
    for name, shown in media.items():
        file = folder / "media" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(shown, int):
            _scan(file, shown)
        elif films is None:
            file.write_bytes(b"")
        else:
            shutil.copy(films / shown, file)
    return MiniSet(task, split, written, folder / "media", examples, learnt)
