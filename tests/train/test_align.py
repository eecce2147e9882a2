"""The aligned start: the residual points to the answers' words before the model is asked."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from helpers import tiny, toy
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, group_by_clip
from pave.errors import ConfigError
from pave.model import PatchedModel
from pave.train import TrainConfig, train
from pave.train import align as align_module
from pave.train.align import AlignSettings, align


def _setting(tmp_path, **fusion):
    base = tiny.base()
    groups = group_by_clip(toy.records(tmp_path, clips=8, questions=2))
    encoder = make_encoder("features", "file", {"dim": toy.DIM, "rate": 2.0})
    features = Features(base, {"features": encoder}, TokenCache(tmp_path / "store"), frames=4)
    model = PatchedModel(base)
    settings = {"side_dim": toy.DIM, "hidden": 16, "heads": 2, "layers": 1, **fusion}
    name = model.new_patch("features", encoder=None, fusion=settings, seed=0)
    return base, model.patches[name].fusion, groups, features


def _residual(fusion, clip):
    side = clip.channels["features"]
    return fusion([clip.visual.query], [side.values], [clip.clip.times], [side.times])[0].detach()


def test_the_residual_points_to_the_answer_and_has_the_wanted_size(tmp_path):
    base, fusion, groups, features = _setting(tmp_path)
    report = align(
        base, fusion, groups, features, AlignSettings("features", steps=60, share=0.25, seed=0)
    )
    assert (report.clips, report.answers) == (8, 2)
    words = [
        torch.tensor(base.tokenizer(base.style.answer + word)["input_ids"]) for word in toy.SOUNDS
    ]
    table = base.model.get_input_embeddings().weight
    means = torch.stack([table[ids].mean(0) for ids in words])
    directions = F.normalize(means - means.mean(0), dim=-1)
    sizes = []
    for number, group in enumerate(groups):
        clip = features[group[0]]
        residual = _residual(fusion, clip)
        nearest = int((residual.mean((0, 1)) @ directions.T).argmax())
        assert toy.SOUNDS[nearest] == group[0].turns[0].answer == toy.SOUNDS[number % 2]
        sizes.append(
            float(residual.square().mean().sqrt() / clip.visual.grid().square().mean().sqrt())
        )
    assert sum(sizes) / len(sizes) == pytest.approx(0.25, rel=0.1)


def test_it_depends_on_its_seed_alone_and_leaves_the_random_state(tmp_path):
    states = []
    for _ in range(2):
        base, fusion, groups, features = _setting(tmp_path)
        before = torch.random.get_rng_state()
        align(base, fusion, groups, features, AlignSettings("features", steps=3, share=0.3, seed=5))
        assert torch.equal(before, torch.random.get_rng_state())
        states.append(fusion.state_dict())
        base.model.model.__dict__.pop(base.family.method, None)
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_records_that_need_the_channel_teach_alone(tmp_path):
    base, fusion, groups, features = _setting(tmp_path)
    told = [
        [record.model_copy(update={"meta": {"channel": "features"}}) for record in groups[0]],
        *groups[1:],
    ]
    assert (
        align(
            base, fusion, told, features, AlignSettings("features", steps=1, share=0.3, seed=0)
        ).clips
        == 1
    )


@pytest.mark.parametrize("rope", [None, "3d"])
def test_a_fusion_that_knows_places_reads_whole_frames(tmp_path, monkeypatch, rope):
    """A token alone would stand in the middle of its frame, wherever it was taken from."""
    base, fusion, groups, features = _setting(tmp_path, rope=rope, hidden=32)
    monkeypatch.setattr(align_module, "_MOST_SPOTS", 10)
    seen = []
    fusion.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    settings = AlignSettings("features", steps=3, share=0.3, seed=0)
    report = align(base, fusion, groups, features, settings)
    frames = [features[group[0]].visual.query for group in groups]  # [T, S, C_q] each
    places = frames[0].shape[1]
    assert places == 4
    assert report.clips == 3  # 10 spots are in the third clip of 4
    for query in [clip for batch in seen for clip in batch]:
        whole = any(torch.equal(query, frame) for frame in frames[:3])
        single = query.shape[1] == 1
        assert (whole, single) == (rope is not None, rope is None)


def test_families_choose_who_teaches(tmp_path):
    base, fusion, groups, features = _setting(tmp_path)
    order = [
        record.model_copy(update={"meta": {"family": ("far", "near")[number % 2]}})
        for number, record in enumerate(groups[0])
    ]
    told = [order, *groups[1:]]
    assert (
        align(
            base,
            fusion,
            told,
            features,
            AlignSettings("features", families=("near",), steps=1, share=0.3, seed=0),
        ).clips
        == 1
    )
    with pytest.raises(ConfigError, match="families middle"):
        align(
            base,
            fusion,
            told,
            features,
            AlignSettings("features", families=("middle",), steps=1, share=0.3, seed=0),
        )


def test_what_it_refuses(tmp_path):
    base, fusion, groups, features = _setting(tmp_path, output_norm=False)
    with pytest.raises(ConfigError, match="output norm"):
        align(base, fusion, groups, features, AlignSettings("features", steps=1, share=0.3, seed=0))
    with pytest.raises(ConfigError, match="no clip has the channel"):
        base, fusion, groups, features = _setting(tmp_path / "other")
        align(base, fusion, groups, features, AlignSettings("audio", steps=1, share=0.3, seed=0))
    with pytest.raises(ValidationError, match="align_steps needs a channel"):
        TrainConfig(records="r.jsonl", out="out", align_steps=3)


def test_a_training_run_starts_aligned(tmp_path):
    toy.records(tmp_path, clips=4, questions=2)
    settings = {"steps": 1, "batch_clips": 2, "lr_fusion": 1e-6, "lr_gate": 1e-6, "lr_lora": 1e-6}
    config = toy.config(tmp_path, align_steps=20, align_share=0.2, **settings)
    result = train(config, base=tiny.base(), progress=False)
    row = (config.out / "train_log.jsonl").read_text().splitlines()[0]
    assert result.steps == 1 and 0.1 < float(row.split('"residual_ratio": ')[1].split(",")[0]) < 0.3
