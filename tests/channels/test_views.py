"""Other cameras: synchronised by time, stacked by moment; and what training may vary."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny
from helpers.clips import mux, numbered, numbers, rotate
from pave.bases import tower_of
from pave.cache import TokenCache
from pave.channels import Cells, Window, cache_key, make_encoder
from pave.channels.tower import encode_chunks
from pave.errors import ChannelError
from pave.media import Frames, Rate, read_frames, stream_frames


class NumberTower:
    """A tower that reads the number off each frame: 2 x 2 cells of [number, row, column]."""

    dim, frames_per_step, digest = 3, 1, "numbers"

    def __init__(self) -> None:
        self.most = 0

    def cells(self, frames: Frames) -> Cells:
        self.most = max(self.most, len(frames.times))
        rows = [[[[n, r, c] for c in range(2)] for r in range(2)] for n in numbers(frames.pixels)]
        return Cells(torch.tensor(rows, dtype=torch.float32), frames.times)

    def window(self, height: int, width: int) -> Window:
        return Window()


@pytest.fixture
def cameras(tmp_path: Path) -> list[Path]:
    """Two 2 s cameras at 25 fps; the second counts from 500."""
    return [mux(tmp_path / "a.mp4", numbered(50)), mux(tmp_path / "b.mp4", numbered(50, start=500))]


NINE: dict[str, dict[str, Any]] = {"views": {"frames": 9}, "frames": {"fps": 25.0}}


def seen(tokens: object) -> list[int]:
    return tokens.values[:, 0, 0].int().tolist()  # type: ignore[attr-defined]


def test_moments_stand_together(cameras: list[Path]) -> None:
    """Entry t * V + v, the authors' frames, the clip's clock, only a few frames at once."""
    tower = NumberTower()
    tokens = make_encoder("views", "tower", {"frames": 10}, tower=tower).encode(cameras)
    assert tokens is not None and tokens.values.shape == (20, 4, 3)
    frames = [int(49 / 9 * step) for step in range(10)]
    assert seen(tokens) == [number for frame in frames for number in (frame, 500 + frame)]
    assert tokens.times.tolist() == pytest.approx(
        [frame / 25 for frame in frames for _ in range(2)]
    )
    assert tower.most <= 8


def test_offsets_synchronise(cameras: list[Path]) -> None:
    """A camera that started 0.4 s later shows frame n - 10; only the shared time is used."""
    source = {"videos": [str(path) for path in cameras], "offsets": [0.0, 0.4]}
    tokens = make_encoder("views", "tower", {"frames": 5, "side": 1}, tower=NumberTower()).encode(
        source
    )
    assert tokens is not None and tokens.values.shape == (10, 1, 3)
    first, second = seen(tokens)[::2], seen(tokens)[1::2]
    assert first == [10, 19, 29, 39, 49] and [n - 490 for n in second] == first
    assert float(tokens.times[0]) == pytest.approx(0.4)


def test_one_camera_and_a_variable_rate(tmp_path: Path, cameras: list[Path]) -> None:
    """A single path is one camera; a camera at another rate shows the frame of the same moment."""
    encoder = make_encoder("views", "tower", {"frames": 3}, tower=NumberTower())
    alone = encoder.encode(cameras[0])
    assert alone is not None and seen(alone) == [0, 24, 49]
    slow = mux(tmp_path / "slow.mp4", numbered(10, start=100), ticks=[200 * i for i in range(10)])
    both = encoder.encode([cameras[0], slow])
    assert both is not None and seen(both)[1::2] == [100, 104, 109]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"videos": ["a.mp4"], "offsets": [0.0, 1.0]}, "1 videos need one offset each"),
        ({"video": ["a.mp4"]}, "videos"),
        ([], "videos"),
        (1, "got 1; give a list of videos"),
        (
            {"videos": ["a.mp4", "b.mp4"], "offsets": [0.0, float("nan")]},
            "offsets.1: Input should be a finite number",
        ),
    ],
)
def test_wrong_sources(source: object, message: str) -> None:
    with pytest.raises(ChannelError, match=message):
        make_encoder("views", "tower", tower=NumberTower()).encode(source)  # type: ignore[arg-type]


def test_cameras_that_never_meet(cameras: list[Path]) -> None:
    source = {"videos": [str(path) for path in cameras], "offsets": [0.0, 60.0]}
    with pytest.raises(ChannelError, match="never film at the same time"):
        make_encoder("views", "tower", tower=NumberTower()).encode(source)


def test_a_tower_is_needed() -> None:
    with pytest.raises(ChannelError, match="uses the base's vision tower"):
        make_encoder("views", "tower")


def test_fast_frames(cameras: list[Path]) -> None:
    """2 x 2 regions of many frames, at the frames' times."""
    tower = NumberTower()
    tokens = make_encoder("frames", "tower", {"fps": 12.5}, tower=tower).encode(cameras[0])
    assert tokens is not None and tokens.values.shape == (25, 4, 3) and tower.most <= 8
    assert seen(tokens) == list(range(0, 50, 2)) and tokens.values[0, :, 1:].tolist() == [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
    ]
    few = make_encoder(
        "frames", "tower", {"fps": 12.5, "at_most": 4, "side": 1}, tower=tower
    ).encode(cameras[0])
    assert (
        few is not None
        and seen(few) == [0, 16, 32, 49]
        and few.values[0, 0].tolist() == [0, 0.5, 0.5]
    )


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_cameras_that_were_held_on_their_side(tmp_path: Path, clockwise: int) -> None:
    """Both encoders see pictures as players show them."""
    stored = [np.rot90(picture, clockwise // 90) for picture in numbered(9)]  # turns the other way
    plain = mux(tmp_path / "plain.mp4", stored)
    turned = rotate(plain, tmp_path / "turned.mp4", clockwise)
    for channel in ("views", "frames"):
        encoder = make_encoder(channel, "tower", NINE[channel], tower=NumberTower())
        assert seen(encoder.encode(turned)) == list(range(9))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_on_every_family(family: str, tmp_path: Path, cameras: list[Path]) -> None:
    """The base's own tower, whatever its grid; a short last piece changes no token's size."""
    base = tiny.base(family)
    tower = tower_of(base)
    tokens = make_encoder("views", "tower", {"frames": 10}, tower=tower).encode(cameras)
    steps = -(-10 // tower.frames_per_step)
    assert (
        tokens is not None
        and tokens.values.shape[0] == 2 * steps
        and tokens.dim == tower.dim == base.query_dim
    )
    encoder = make_encoder("views", "tower", {"frames": 10, "random_views": True}, tower=tower)
    varied = encoder.vary(tokens, random.Random(1))  # type: ignore[attr-defined]
    assert varied.steps in (steps, 2 * steps)
    fast = make_encoder("frames", "tower", {"fps": 5.0}, tower=tower).encode(cameras[0])
    assert (
        fast is not None
        and fast.values.shape[1:] == (4, tower.dim)
        and bool((fast.times.diff() > 0).all())
    )


def test_tower_tokens_are_the_fusions_queries(cameras: list[Path]) -> None:
    """What a camera gives is what the base sees of its own video."""
    base = tiny.base()
    frames = read_frames(cameras[0], Rate(4.0))
    (visual,) = base.visual([base.clip(frames)])
    assert visual.query is not None
    values, times = encode_chunks(tower_of(base), stream_frames(cameras[0], Rate(4.0), 3), None)
    torch.testing.assert_close(values, visual.query.float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(times, frames.times)


def test_another_tower_is_another_key(tmp_path: Path, cameras: list[Path]) -> None:
    """Weights and preprocessing of the base are in the key; a draw of cameras is not."""
    store = TokenCache(tmp_path / "store")

    def key(seed: int, **settings: object) -> str:
        return cache_key(
            store,
            make_encoder("views", "tower", settings, tower=tower_of(tiny.base(seed=seed))),
            cameras,
        )

    assert key(0) == key(0) == key(0, random_views=True)
    assert len({key(0), key(1), key(0, frames=16), key(0, side=1)}) == 4
