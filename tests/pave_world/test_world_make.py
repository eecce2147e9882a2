"""Folders of the world: readable clips and records, the same bytes again.

Resumed where they stopped, refused when mixed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pave.data import read_records
from pave.errors import ConfigError
from pave.media import Uniform, probe, read_frames, read_sound
from pave_world import (
    frame_times,
    make_world,
    questions_for,
    render_frames,
    render_sound,
    sample_scene,
)

SMALL = {"duration": 1.0, "fps": 5.0, "size": 64}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, "test", clips=3, **SMALL)
    return folder


def test_records_can_be_read_and_say_what_they_are(made: Path) -> None:
    records = read_records(made / "records.jsonl")
    scene = sample_scene("audio", "test", 0, duration=1.0)
    first = [record for record in records if record.meta["clip"] == scene.name]
    assert [(record.turns[0].question, record.answers) for record in first] == [
        (question.question, [question.answer]) for question in questions_for(scene, 8)
    ]
    assert first[0].id == f"{scene.name}-0" and first[0].video == first[0].channels["audio"]
    assert all(record.turns[0].answer == record.answers[0] for record in records)
    assert set(first[0].meta) == {"family", "channel", "clip", "unseen"}
    assert len({record.id for record in records}) == len(records)
    line = json.loads((made / "records.jsonl").read_text().splitlines()[0])
    assert line["video"] == f"clips/{scene.name}.mp4"  # relative, so the folder can be moved


def test_clips_hold_the_rendered_frames_and_sound(made: Path) -> None:
    scene = sample_scene("audio", "test", 1, duration=1.0)
    path = made / "clips" / f"{scene.name}.mp4"
    info = probe(path)
    assert info.video is not None and (info.video.width, info.video.height) == (64, 64)
    wanted = render_frames(scene, frame_times(1.0, 5), 64)
    frames = read_frames(path, Uniform(5)).pixels.permute(0, 2, 3, 1).numpy()
    assert np.abs(frames.astype(float) - wanted).mean() < 6
    sound = read_sound(path, 16000)
    assert sound is not None
    heard, wanted_sound = sound.samples.numpy()[:16000], render_sound(scene)
    assert 0.7 < np.square(heard).mean() / np.square(wanted_sound[: len(heard)]).mean() < 1.4


def test_the_licence_of_the_sprites_is_beside_the_clips(made: Path) -> None:
    assert "CC BY-SA 4.0" in (made / "LICENCE.txt").read_text()


def test_same_arguments_same_bytes(made: Path, tmp_path: Path) -> None:
    make_world(tmp_path, "test", clips=3, **SMALL)
    assert snapshot(tmp_path) == snapshot(made)


def test_interrupted_work_goes_on_and_ends_the_same(made: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 3
        raise KilledError

    with pytest.raises(KilledError):
        make_world(tmp_path, "test", clips=3, progress=stop, **SMALL)
    assert not (tmp_path / "records.jsonl").exists()
    (finished,) = (tmp_path / "clips").iterdir()
    before = finished.stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    make_world(
        tmp_path, "test", clips=3, progress=lambda done, total: calls.append((done, total)), **SMALL
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert finished.stat().st_mtime_ns == before and snapshot(tmp_path) == snapshot(made)


def test_visual_worlds_have_no_sound_track(tmp_path: Path) -> None:
    records = read_records(
        make_world(tmp_path, "train", clips=1, channel="video", questions_per_clip=2, **SMALL)
    )
    assert len(records) == 2 and all(record.channels == {} for record in records)
    assert read_sound(records[0].video) is None


def test_a_folder_keeps_one_world(made: Path) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        make_world(made, "train", clips=3, **SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clips": 0}, "at least 1"),
        ({"split": "dev"}, "split"),
        ({"channel": "smell"}, "channel"),
        ({"fps": 100}, "fps"),
        ({"colour": 1}, "colour"),
    ],
)
def test_wrong_settings_are_clear_errors(
    wrong: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_world(tmp_path / "new", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_worker_processes_make_the_same_files(made: Path, tmp_path: Path) -> None:
    make_world(tmp_path, "test", clips=3, workers=2, **SMALL)
    assert snapshot(tmp_path) == snapshot(made)
