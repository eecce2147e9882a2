"""The authors' feature files are read as they lie in the public zips, nothing else is."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from helpers import paper
from pave.channels import list_encoders, make_encoder
from pave.channels.encoder import identity_of
from pave.errors import ChannelError


def test_every_channel_has_a_reader():
    known = set(list_encoders())
    assert {(channel, "official") for channel in ("audio", "frames", "scene3d", "views")} <= known


def test_sound_in_bf16_with_a_graph(tmp_path):
    torch.save(torch.randn(7, 10).bfloat16().requires_grad_(), tmp_path / "a.pt")
    tokens = make_encoder("audio", "official", {"dim": 10}).encode(tmp_path / "a.pt")
    assert (tuple(tokens.values.shape), tokens.values.dtype, tokens.values.requires_grad) == (
        (7, 1, 10),
        torch.float32,
        False,
    )
    assert tokens.times.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_video_drops_its_class_token():
    tokens = make_encoder("frames", "official", {"dim": 10}).encode(
        paper.DATA / "feat" / "vidA_languagebind.pt"
    )
    wanted = paper.goldens()["dataset.languagebind.video_feat"]  # [C, T, H, W]
    assert torch.equal(tokens.values, wanted.flatten(2).permute(1, 2, 0))
    assert tokens.times[:2].tolist() == [0.25, 0.75]


def test_scenes_as_arrays(tmp_path):
    values = np.random.default_rng(0).normal(size=(1, 24, 3)).astype(np.float32)
    np.save(tmp_path / "video_features.npy", values)
    tokens = make_encoder("scene3d", "official", {"dim": 3, "vhw": (6, 2, 2)}).encode(
        tmp_path / "video_features.npy"
    )
    assert torch.equal(tokens.values, torch.from_numpy(values).view(6, 4, 3))


def test_cameras_interleave(tmp_path):
    cameras = torch.randn(2, 3, 4, 5)
    paths = [tmp_path / f"{number}.pt" for number in range(2)]
    for path, camera in zip(paths, cameras, strict=True):
        torch.save(camera.clone(), path)
    tokens = make_encoder("views", "official", {"dim": 5}).encode([str(path) for path in paths])
    assert torch.equal(tokens.values, cameras.transpose(0, 1).flatten(0, 1))
    assert tokens.times.tolist() == [0, 0, 1, 1, 2, 2]
    one = make_encoder("views", "official", {"dim": 5}).encode(paths[0])
    assert torch.equal(one.values, cameras[0])


def test_cameras_in_a_folder_and_a_random_part_of_them(tmp_path):
    cameras = torch.randn(3, 4, 2, 5)
    for number, camera in enumerate(cameras):
        torch.save(camera.clone(), tmp_path / f"cam{number}.pt")
    encoder = make_encoder("views", "official", {"dim": 5, "random_views": True})
    every = encoder.encode(tmp_path)
    assert torch.equal(every.values, cameras.transpose(0, 1).flatten(0, 1))
    assert torch.equal(
        make_encoder("views", "official", {"dim": 5}).vary(every, random.Random(0)).values,
        every.values,
    )
    assert identity_of(encoder) == {"dim": 5, "vhw": [32, 24, 24]}, (
        "which cameras are drawn does not change what is stored"
    )
    seen = set()
    for seed in range(20):
        some = encoder.vary(every, random.Random(seed))
        count = some.steps // 4
        assert some.times.tolist() == [step for step in range(4) for _ in range(count)]
        drawn = [
            next(n for n in range(3) if torch.equal(cameras[n, 0], values))
            for values in some.values[:count]
        ]
        assert torch.equal(some.values, cameras[drawn].transpose(0, 1).flatten(0, 1))
        seen.add(tuple(drawn))
    assert len(seen) > 5
    (tmp_path / "none").mkdir()
    with pytest.raises(ChannelError, match="no features in this folder"):
        encoder.encode(tmp_path / "none")


def test_strangers_are_refused(tmp_path):
    encoder = make_encoder("audio", "official", {"dim": 10})
    torch.save({"values": torch.zeros(2, 10)}, tmp_path / "dict.pt")
    torch.save(torch.zeros(2, 11), tmp_path / "wide.pt")
    torch.save(torch.zeros(2), tmp_path / "flat.pt")
    for source, words in (
        (tmp_path / "clip.mp4", "reads precomputed .pt or .npy features, not '.mp4'"),
        (tmp_path / "gone.pt", "no such file"),
        (tmp_path / "dict.pt", "holds dict, not a tensor"),
        (tmp_path / "wide.pt", "holds 11 features per token, not 10"),
        (tmp_path / "flat.pt", "has the shape"),
        ([tmp_path / "wide.pt"], "reads one file, got"),
    ):
        with pytest.raises(ChannelError, match=words):
            encoder.encode(source)


def test_numbers_that_are_none_name_their_file(tmp_path):
    """A store of thousands of files needs to know which one is bad."""
    torch.save(torch.full((3, 10), float("nan")), tmp_path / "bad.pt")
    with pytest.raises(ChannelError, match=r"bad\.pt: tokens hold a NaN"):
        make_encoder("audio", "official", {"dim": 10}).encode(tmp_path / "bad.pt")
