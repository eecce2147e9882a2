"""What training varies in cached tokens: drawn from seed and position alone; the cache stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers import tiny
from helpers.clips import mux, numbered
from pave.bases import Base, tower_of
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, Record, Turn
from pave.train.batches import Sequences
from pave.train.plans import Plan


@pytest.fixture(scope="module")
def base() -> Base:
    return tiny.base()


def sequences(base: Base, folder: Path, seed: int, random_views: bool = True) -> Sequences:
    """One clip with three cameras, asked about twelve times."""
    videos = [folder / f"{number}.mp4" for number in range(3)]
    for number, video in enumerate(videos):
        if not video.exists():
            mux(video, numbered(8, start=100 * number))
    settings = {"frames": 2, "side": 1, "random_views": random_views}
    encoder = make_encoder("views", "tower", settings, tower=tower_of(base))
    features = Features(base, {"views": encoder}, TokenCache(folder / "store"), frames=2)
    turn = Turn(question="Hm?", answer="dog")
    record = Record(
        id="a",
        video=str(videos[0]),
        channels={"views": [str(video) for video in videos]},
        turns=[turn],
    )
    return Sequences(base, features, [[record]], Plan([1], 1, seed), 12)


def drawn(data: Sequences) -> list[torch.Tensor]:
    return [data[position].features.channels["views"].values for position in range(12)]


def test_a_random_part_of_the_cameras(base: Base, tmp_path: Path) -> None:
    """Different at each position, the same for the same seed, whole without the setting."""
    one, again, other = (drawn(sequences(base, tmp_path, seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert {len(values) for values in one} == {2, 4, 6}
    before = sorted((tmp_path / "store").rglob("*.safetensors"))
    whole = drawn(sequences(base, tmp_path, 0, random_views=False))
    assert all(torch.equal(values, whole[0]) and len(values) == 6 for values in whole)
    assert sorted((tmp_path / "store").rglob("*.safetensors")) == before
    known = {tuple(row.tolist()) for row in whole[0][:, 0]}
    assert all(tuple(row.tolist()) in known for values in one for row in values[:, 0])
    data = sequences(base, tmp_path, 0)
    assert (
        data.features[data.groups[0][0]].channels["views"].steps == 6
    )  # evaluation reads all cameras
