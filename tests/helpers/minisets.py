"""Invented mini data sets in the public formats of all ten tasks, about two clips each.

`worlds(folder)` films the clips, in half a CPU second for all of them. `make(task, folder, films)`
writes a task's annotation files, which speak of what the clips show and sound like, and lays the
clips under the names that the data set gives them. Without `films` the media are empty files, for
tests that only look for them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pave.tasks import list_tasks

pytest.importorskip("pave_world", reason="these media are clips of the embedded world")
from pave_world import (
    camera_to_world,
    intrinsics,
    make_world,
    questions_for,
    render_depth,
    render_frames,
    sample_scene,
)
from pave_world.questions.question import Question
from pave_world.scenes.catalog import names
from pave_world.scenes.scene import Channel, Scene

SECONDS, SIZE, CLIPS = 2.0, 64, 2
KINDS: tuple[Channel, ...] = ("audio", "scene3d", "views", "frames")
Made = tuple[dict[str, Any], Mapping[str, Any], str, int]
"""Annotation files, medium -> what is filmed for it, split, examples."""


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


def worlds(folder: Path) -> Path:
    """Film two clips of each kind, all that the mini data sets show."""
    for kind in KINDS:
        make_world(
            folder / kind, "test", CLIPS, channel=kind, duration=SECONDS, fps=10.0, size=SIZE
        )
    return folder


def _scene(kind: Channel, number: int) -> Scene:
    return sample_scene(kind, "test", number, 0, SECONDS)


def _film(kind: Channel, number: int, camera: int = 0) -> str:
    """A clip below the folder of `worlds`."""
    return f"{kind}/clips/{_scene(kind, number).name}{f'-camera{camera}' if camera else ''}.mp4"


def _asked(kind: Channel, number: int, *families: str) -> list[Question]:
    """Questions about a scene, of these families or of all."""
    return [
        question
        for question in questions_for(_scene(kind, number))
        if not families or question.family in families
    ]


def _options(right: str) -> list[str]:
    """Four names, the right one among them."""
    others = [name for name in names("sounding") if name != right][:3]
    place = len(right) % 4
    return [*others[:place], right, *others[place:]]


def _shown(scene: Scene) -> str:
    return " and ".join(f"a {name}" for name in scene.visible)


def _avsd() -> Made:
    dialogs = []
    for number in range(CLIPS):
        rounds = [
            {"question": question.question, "answer": question.answer}
            for question in _asked("audio", number)[:2]
        ]
        last = {
            "question": "what is there ?",
            "answer": f"there is {_shown(_scene('audio', number))} .",
        }
        dialogs.append({"image_id": f"V{number}", "dialog": [*rounds, last]})
    return (
        {"mock_test.json": {"dialogs": dialogs}},
        {f"V{n}.mp4": _film("audio", n) for n in range(CLIPS)},
        "test",
        2,
    )


def _avqa() -> Made:
    rows = []
    for n in range(4):
        scene = _scene("audio", n % 2)
        right = (scene.heard if n < 2 else scene.visible)[0]
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
        {f"clip_00000{n}.mp4": _film("audio", n) for n in range(CLIPS)},
        "val",
        4,
    )


def _music_avqa() -> Made:
    one, two = (_scene("audio", n) for n in range(CLIPS))
    (count,) = _asked("audio", 0, "count")
    asked = [
        (
            "00000001",
            ["Audio", "Counting"],
            "How many sounding <Object>s are there?",
            "thing",
            count.answer,
        ),
        ("00000001", ["Visual", "Location"], "Where is the <Object>?", one.visible[0], "left"),
        (
            "sy00002",
            ["Audio-Visual", "Existential"],
            "Is the <Object> always playing?",
            two.visible[1],
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
    media = {"MUSIC-AVQA-videos-Real/00000001.mp4": _film("audio", 0)}
    media["MUCIS-AVQA-videos-Synthetic/sy00002.mp4"] = _film("audio", 1)
    return {"avqa-test.json": rows}, media, "test", 3


def _scanqa() -> Made:
    rows = []
    for n in range(CLIPS):
        question = _asked("scene3d", n, "farthest")[0]
        rows.append(
            {
                "scene_id": f"scene000{n}_00",
                "question_id": f"val-{n}",
                "question": question.question,
            }
            | {
                "answers": [f"the {question.answer}", question.answer],
                "object_ids": [n],
                "object_names": [question.answer],
            }
        )
    return (
        {"ScanQA_v1.0_val.json": rows},
        {f"scene000{n}_00": _scene("scene3d", n) for n in range(CLIPS)},
        "val",
        2,
    )


def _sqa3d() -> Made:
    questions, annotations = [], []
    for n, asked in enumerate(_asked("scene3d", 0, "side", "front")[:2]):
        head = {"scene_id": "scene0000_00", "question_id": n}
        questions.append(
            {**head, "situation": "I stand at the camera.", "question": asked.question}
        )
        place = {
            "position": {"x": 0, "y": 0, "z": 0},
            "rotation": {"_x": 0, "_y": 0, "_z": 0, "_w": 1},
        }
        annotations.append({**head, "answers": [{"answer": asked.answer}], **place})
    files = {
        "questions.json": {"questions": questions},
        "annotations.json": {"annotations": annotations},
    }
    return files, {"scene0000_00": _scene("scene3d", 0)}, "test", 2


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
            f"{folder}/downscaled/448/{name}.mp4": _film("views", n, place)
            for place, name in enumerate(cameras)
        }
    return {"proficiency_demonstrator_val.json": {"annotations": rows}}, media, "val", 2


def _llava_video() -> Made:
    rows = []
    for name, n in (("a", 0), ("b", 1), ("a", 0), ("a", 0)):
        asked = _asked("frames", n)[len(rows) % 2]
        talk = [
            {"from": "human", "value": f"<image>\n{asked.question}"},
            {"from": "gpt", "value": asked.answer},
        ]
        rows.append(
            {
                "id": name,
                "conversations": talk,
                "data_source": "world",
                "video": f"academic_source/{name}.mp4",
            }
        )
    media = {f"academic_source/{name}.mp4": _film("frames", n) for n, name in enumerate("ab")}
    return {"1_2_m_academic_oe_v0_1_qa_processed.json": rows}, media, "train", 3


def _flash(number: int) -> tuple[str, list[str], str]:
    """What flashes or dashes by: question, options, answer."""
    right = _scene("frames", number).flashed[0]
    return "What shows up for a moment?", _options(right), right


def _videomme() -> Made:
    rows = []
    for n, duration in enumerate(["short", "long"]):
        question, options, right = _flash(n)
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
        {f"data/yt{n}.mp4": _film("frames", n) for n in range(CLIPS)},
        "test",
        2,
    )


def _mvbench() -> Made:
    rows = [
        dict(zip(("question", "candidates", "answer"), _flash(n), strict=True))
        for n in range(CLIPS)
    ]
    files = {"state_change.json": [{**rows[0], "video": "a.mp4"}]}
    files["action_sequence.json"] = [{**rows[1], "video": "b.mp4", "start": 0.0, "end": SECONDS}]
    media = {
        "perception/videos/a.mp4": _film("frames", 0),
        "star/Charades_segment/b.mp4": _film("frames", 1),
    }
    return files, media, "test", 2


def _mlvu() -> Made:
    rows = []
    for n in range(CLIPS):
        question, options, right = _flash(n)
        listed = "\n".join(
            f"({letter}) {text}" for letter, text in zip("ABCD", options, strict=True)
        )
        rows.append(
            {"video_name": f"m{n}.mp4", "question": f"{question}\n{listed}", "candidates": options}
            | {"answer": "ABCD"[options.index(right)], "task_type": "NQA"}
        )
    return {"mlvu.json": rows}, {f"m{n}.mp4": _film("frames", n) for n in range(CLIPS)}, "test", 2


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


def _scan(folder: Path, scene: Scene) -> None:
    """A scene as ScanNet lays out its own: colour, depth in millimetres, poses, intrinsics."""
    times = np.linspace(0, SECONDS, 3)
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    matrix = np.eye(4)
    matrix[:3, :3] = intrinsics(scene, SIZE)
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", matrix)
    for number, (time, picture) in enumerate(
        zip(times, render_frames(scene, times, SIZE), strict=True)
    ):
        depth = render_depth(scene, float(time), SIZE)
        Image.fromarray(picture).save(folder / "color" / f"{number}.jpg")
        Image.fromarray((depth * 1000).astype(np.uint16)).save(folder / "depth" / f"{number}.png")
        np.savetxt(folder / "pose" / f"{number}.txt", camera_to_world(scene.pose(float(time))))


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
        if isinstance(shown, Scene):
            _scan(file, shown)
        elif films is None:
            file.write_bytes(b"")
        else:
            shutil.copy(films / shown, file)
    return MiniSet(task, split, written, folder / "media", examples, learnt)
