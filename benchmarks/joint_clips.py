"""Clips of `make joint`: those of the four demos, and the same ones with all four channels.

A clip of the world has one channel beside its picture. What the others would have recorded in the
same room is made here: its depth, two further cameras where the world of other cameras has them,
its own film at a high frame rate, and something that sounds out of view (the sound of an audio clip
of the same split; an audio clip keeps its own). None of it answers the clip's questions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import runs

from pave.bases import Base, tower_of
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, read_records
from pave.files import make_folder, write_text_atomically
from pave.media import write_video
from pave_world import frame_times, render_frames, sample_scene
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, TRAIN
from pave_world.films.clips import CLIPS, WorldSettings
from pave_world.films.make import RECORDS, read_settings
from pave_world.pictures.geometry import write_scene3d
from pave_world.scenes.frames import TAKEN
from pave_world.scenes.scene import Scene

IN_COMPANY = "in-company.jsonl"
"""Records of a split whose clips have other channels beside their own."""
_SHARE = 0.5
"""Probability of each other channel in training; held-out clips have them all."""
_OTHERS = "others"  # folder of the media, beside that of the clips
_HALF_ROOM, _FRONT = 4.0, -1.0  # metres: side walls and a front wall for the further cameras


def make_clips(worlds: Mapping[str, DemoConfig], company: Sequence[str]) -> None:
    """Make the clips of both splits that are not there, and those in company of `company`.

    Args:
        worlds: Sense -> its settings.
        company: Splits whose clips are also wanted with other channels.
    """
    for world in worlds.values():
        runs.make_clips(world)
    for split in company:
        for world in worlds.values():
            if not (world.world(split) / IN_COMPANY).is_file():
                _write_in_company(worlds, world, split)


def encode(worlds: Mapping[str, DemoConfig], base: Base) -> None:
    """Put the tokens of all clips into the cache that everything of a seed shares."""
    encoders = {}
    for sense, world in worlds.items():
        assert world.encoder is not None
        settings = world.encoder_settings
        encoders[sense] = make_encoder(sense, world.encoder, settings, tower=tower_of(base))
    features = Features(base, encoders, TokenCache(cache_of(worlds)))
    for world in worlds.values():
        for split in (TRAIN, TEST):
            for name in (RECORDS, IN_COMPANY):
                file = world.world(split) / name
                if file.is_file():
                    features.precompute(read_records(file), workers=0)


def cache_of(worlds: Mapping[str, DemoConfig]) -> Path:
    """The token cache of a seed."""
    return next(iter(worlds.values())).out.parent / "store"


def _write_in_company(worlds: Mapping[str, DemoConfig], world: DemoConfig, split: str) -> None:
    """The records of a split once more, with the channels that the clips have beside their own."""
    folder = world.world(split)
    settings = read_settings(folder)
    sounds = worlds["audio"].world(split)
    given: dict[str, dict[str, Any]] = {}
    for index, name in _clips(world, split):
        others = _others(folder, settings, settings.scene(index), sounds)
        if split == TRAIN:
            others = _some(others, f"{world.seed}/{name}")
        given[name] = others
    lines = []
    for line in (folder / RECORDS).read_text("utf-8").splitlines():
        row = json.loads(line)
        row["channels"] = {**given[row["meta"]["clip"]], **row["channels"]}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text_atomically(folder / IN_COMPANY, "".join(lines))


def _clips(world: DemoConfig, split: str) -> Iterator[tuple[int, str]]:
    """Number and name of each clip of a split."""
    settings = read_settings(world.world(split))
    for index in range(world.clips(split)):
        yield index, settings.scene(index).name


def _some(others: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The channels that a training clip has beside its own."""
    chance = random.Random(name)
    kept = {}
    for channel in sorted(others):
        if chance.random() < _SHARE:
            kept[channel] = others[channel]
    return kept


def _others(folder: Path, settings: WorldSettings, scene: Scene, sounds: Path) -> dict[str, Any]:
    """The channels that a clip has not by itself; paths relative to the world's folder."""
    make_folder(folder / _OTHERS)
    found: dict[str, Any] = {}
    if scene.channel != "audio":
        where = (settings.split, scene.index, settings.seed, settings.duration)
        sound = sample_scene("audio", *where)
        found["audio"] = str((sounds / CLIPS / f"{sound.name}.mp4").resolve())
    if scene.channel != "scene3d":
        found["scene3d"] = _depth(folder, settings, scene)
    if scene.channel != "views":
        found["views"] = _cameras(folder, settings, scene)
    if scene.channel != "frames":
        found["frames"] = f"{CLIPS}/{scene.name}.mp4"
    return found


def _depth(folder: Path, settings: WorldSettings, scene: Scene) -> str:
    """Posed RGB-D frames of the clip, as the world of depth has them."""
    name = f"{_OTHERS}/{scene.name}.npz"
    if not (folder / name).exists():
        # Depth maps know no screen, so what it hides must not be there.
        shown = replace(scene, behind=None, outside=None)
        times = frame_times(settings.duration, settings.fps)
        taken = np.linspace(0, len(times) - 1, TAKEN, dtype=np.int64)
        write_scene3d(folder / name, shown, times[taken], settings.size)
    return name


def _cameras(folder: Path, settings: WorldSettings, scene: Scene) -> list[str]:
    """Films of two further cameras, on tripods where the world of other cameras has them."""
    where = (settings.split, scene.index, settings.seed, settings.duration)
    cameras = sample_scene("views", *where).cameras
    room = replace(scene.room, half=_HALF_ROOM, front=_FRONT)
    filmed = replace(scene, room=room, cameras=cameras)
    times = frame_times(settings.duration, settings.fps)
    names = []
    for view in range(1, len(cameras) + 1):
        name = f"{_OTHERS}/{scene.name}-camera{view}.mp4"
        if not (folder / name).exists():
            frames = render_frames(filmed, times, settings.size, view)
            write_video(folder / name, frames, settings.fps)
        names.append(name)
    return names
