"""Folders of scenes with a channel of their own: records name what the channel reads.

It can be read, and an interrupted folder goes on as any.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pave.data import Record, read_records
from pave.errors import ConfigError
from pave.media import Rate, Uniform, probe, read_frames
from pave_world import frame_times, make_world, render_frames, sample_scene
from pave_world.scenes.scene import Channel

SMALL = {"duration": 2.0, "fps": 10.0, "size": 64}
FILES = {
    "scene3d": {".mp4", ".npz"},
    "views": {".mp4", "-camera1.mp4", "-camera2.mp4"},
    "frames": {".mp4"},
    "motion": {".mp4", ".csv"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    for channel in FILES:
        make_world(folder / channel, "test", clips=2, channel=channel, **SMALL)
    return folder


def first(made: Path, channel: Channel) -> Record:
    return read_records(made / channel / "records.jsonl")[0]


@pytest.mark.parametrize("channel", FILES)
def test_records_name_the_channel_and_what_they_need(made: Path, channel: Channel) -> None:
    records = read_records(made / channel / "records.jsonl")  # checks that the media are there
    assert all(set(record.channels) == {channel} for record in records)
    assert {record.meta["channel"] for record in records} == {channel, "video"}
    assert all(
        record.meta["family"] and record.answers == [record.turns[0].answer] for record in records
    )
    names = {path.name for path in (made / channel / "clips").iterdir()}
    assert names == {
        f"test-{channel}-{index:05d}{ending}" for index in range(2) for ending in FILES[channel]
    }


def test_depth_frames_are_the_four_that_a_base_takes(made: Path) -> None:
    record = first(made, "scene3d")
    taken = read_frames(record.video, Uniform(4))
    with np.load(record.channels["scene3d"]) as arrays:
        assert arrays["times"] == pytest.approx(taken.times.numpy())
        pixels = taken.pixels.permute(0, 2, 3, 1).numpy().astype(float)
        assert np.abs(arrays["color"] - pixels).mean() < 6


def test_further_cameras_are_synchronised_films_of_their_own(made: Path) -> None:
    record, scene = first(made, "views"), sample_scene("views", "test", 0, duration=2.0)
    for view, path in enumerate([record.video, *record.channels["views"]]):
        info = probe(path)
        assert info.video is not None and info.video.width == 64
        film = read_frames(path, Rate(10))
        assert film.times == pytest.approx(frame_times(2.0, 10))
        wanted = render_frames(scene, frame_times(2.0, 10), 64, view)
        assert np.abs(film.pixels.permute(0, 2, 3, 1).numpy().astype(float) - wanted).mean() < 6


def test_fast_frames_are_in_the_film_itself(made: Path) -> None:
    record = first(made, "frames")
    assert record.channels["frames"] == record.video
    dense, taken = (
        read_frames(record.video, Rate(10)).pixels.float(),
        read_frames(record.video, Uniform(4)).pixels.float(),
    )
    nearest = torch.stack([(frame - taken).abs().mean(dim=(1, 2, 3)).min() for frame in dense])
    assert nearest.max() > 1 and len(dense) == 20  # something is there that no taken frame shows


@pytest.mark.parametrize("channel", FILES)
def test_a_lost_file_is_made_again_and_the_others_are_kept(
    made: Path, channel: Channel, tmp_path: Path
) -> None:
    folder = made / channel
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("clips/*")
    }
    lost = sorted(before)[-1]
    lost.unlink()
    make_world(folder, "test", clips=2, channel=channel, **SMALL)
    assert {path: path.read_bytes() for path in folder.rglob("clips/*")} == {
        path: data for path, (data, _) in before.items()
    }
    assert all(
        path.stat().st_mtime_ns == stamp for path, (_, stamp) in before.items() if path != lost
    )


@pytest.mark.parametrize("wrong", [{"fps": 5.0, "duration": 4.0}, {"fps": 10.0, "duration": 1.0}])
def test_fast_events_need_frames_that_show_them(wrong: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match='channel "frames" needs fps of 10 or more and a duration of 2 seconds or more',
    ):
        make_world(tmp_path / "new", channel="frames", **wrong)
    assert not (tmp_path / "new").exists()
