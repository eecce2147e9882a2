"""Cached features: equal to computed ones, computed once, never stale."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import pave.data.features as features_module
from helpers import tiny, toy
from pave.bases import load_base
from pave.bases.digest import tower_digest
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, Record, Turn
from pave.errors import ConfigError, RecordError
from pave.files import PlaceError
from pave.media import Uniform, read_frames


def _features(base, folder, frames=4):
    encoder = make_encoder("features", "file", {"dim": toy.DIM, "rate": 2.0})
    return Features(base, {"features": encoder}, TokenCache(folder / "store"), frames=frames)


@pytest.mark.parametrize(
    "family", ["llava_onevision", "internvl", "smolvlm", "qwen2_5_vl", "qwen3_vl", "video_llama_3"]
)
def test_cached_features_give_the_logits_of_the_live_tower(family, tmp_path):
    base = tiny.base(family)
    (record, *_) = toy.records(tmp_path, clips=1)
    features = _features(base, tmp_path)
    assert features.precompute([record]).computed == 1
    cached = features[record]
    clip = base.clip(read_frames(record.video, Uniform(4)))
    assert cached.clip.text == clip.text
    assert not [name for name in cached.clip.pixels if name.startswith("pixel")]
    ids = base.encode_prompt(clip.text, [("What?", None)]).ask()
    with torch.no_grad():
        live = base.model(**base.batch([ids], [clip])).logits
        outputs = {base.family.modality: base.join([cached.visual])}
        fast = base.model(**base.batch([ids], [cached.clip]), mm_encoder_outputs=outputs).logits
    torch.testing.assert_close(fast, live, rtol=0, atol=0)
    assert cached.visual.query is not None
    assert cached.channels["features"].values.shape == (5, 1, toy.DIM)


def test_nothing_is_computed_twice(tmp_path, monkeypatch):
    records = toy.records(tmp_path, clips=3, questions=2)
    base, seen = tiny.base(), []
    report = _features(base, tmp_path).precompute(
        records, workers=2, progress=lambda done, total: seen.append((done, total))
    )
    assert (report.computed, report.reused) == (3, 0)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(features_module, "read_frames", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(base, "visual", lambda *_: pytest.fail("the tower ran again"))
    again = _features(base, tmp_path)
    assert again.precompute(records).reused == 3
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "frames", moved)  # the same content under another name
    assert (
        again[records[0].model_copy(update={"video": str(moved)})].visual.tokens.shape[1]
        == base.hidden_dim
    )


def test_a_missing_entry_is_computed_on_the_way(tmp_path):
    (record, *_) = toy.records(tmp_path, clips=1)
    features = _features(tiny.base(), tmp_path)
    first = features[record]
    torch.testing.assert_close(first.visual.tokens, features[record].visual.tokens, rtol=0, atol=0)


def test_another_tower_or_frame_count_is_another_key(tmp_path):
    (record, *_) = toy.records(tmp_path, clips=1)
    store = TokenCache(tmp_path / "store")
    keys = {
        Features(tiny.base(seed=0), {}, store, frames=4).visual_key(record.video),
        Features(tiny.base(seed=1), {}, store, frames=4).visual_key(record.video),
        Features(tiny.base(seed=0), {}, store, frames=3).visual_key(record.video),
    }
    assert len(keys) == 3
    base = tiny.base(seed=0)
    before = tower_digest(base)
    from pave.model import PatchedModel
    from pave.patches import LoraSpec

    patched = PatchedModel(base)
    patched.new_patch(None, lora=LoraSpec())
    assert tower_digest(base) == before  # a patch changes no visual token


def test_the_tower_stays_on_the_disk_when_all_tokens_are_there(tmp_path):
    records = toy.records(tmp_path, clips=2)
    plain = tiny.base()
    plain.model.save_pretrained(tmp_path / "base")
    plain.tokenizer.save_pretrained(tmp_path / "base")

    def blind():
        return load_base(tmp_path / "base", settings=plain.settings, tower=False)

    first = blind()
    assert _features(first, tmp_path).precompute(records).computed == 2
    assert first.tower_loaded  # it had to see
    second = blind()
    features = _features(second, tmp_path)
    assert features.precompute(records).reused == 2
    assert features[records[0]].visual.tokens.shape[1] == second.hidden_dim
    assert not second.tower_loaded
    whole = load_base(tmp_path / "base", settings=plain.settings)
    assert (
        _features(whole, tmp_path).precompute(records).reused == 2
    )  # one digest, with the tower and without
    unseen = toy.records(tmp_path / "more", clips=1)[0].model_copy(
        update={"video": str(toy.frames(tmp_path / "other", seed=5))}
    )
    assert features.precompute([unseen]).computed == 1
    assert second.tower_loaded  # a clip that is not in the store brings it back

    file = tmp_path / "base" / "model.safetensors"
    tensors = {
        key: value * 1.5 if "vision_tower" in key else value.clone()
        for key, value in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    assert (
        _features(blind(), tmp_path).precompute(records).computed == 2
    )  # another tower, other tokens


def test_bad_clips_are_told_together_and_good_ones_are_kept(tmp_path):
    records = toy.records(tmp_path, clips=2, questions=1)
    bad = []
    for number in range(4):
        file = tmp_path / f"bad{number}.mp4"
        file.write_text(f"no video {number}")
        bad.append(Record(id=f"bad{number}", video=str(file), turns=[Turn(question="?")]))
    features = _features(tiny.base(), tmp_path)
    with pytest.raises(
        RecordError, match=r"4 of 6 clips cannot be used: bad0: .*bad2: .*; also bad3; repair"
    ):
        features.precompute([*bad[:2], *records, *bad[2:]], workers=2)
    assert features.precompute(records).reused == 2
    with pytest.raises(ConfigError, match="number of processes"):
        features.precompute(records, workers=-1)


def test_a_clip_that_nobody_foresaw_costs_only_itself(tmp_path, monkeypatch):
    """Too large for the memory, for example; and one whose media have gone comes first."""
    records = toy.records(tmp_path, clips=3, questions=1)
    gone = records[0].model_copy(update={"id": "gone", "video": str(tmp_path / "gone.mp4")})
    features, encode = _features(tiny.base(), tmp_path), features_module.encode_cached
    large = records[1].channels["features"]

    def hungry(cache, encoder, media):
        if media == large:
            raise MemoryError("2 TiB")
        return encode(cache, encoder, media)

    monkeypatch.setattr(features_module, "encode_cached", hungry)
    words = r"2 of 4 clips cannot be used: gone: .*gone\.mp4.*unexpected MemoryError: 2 TiB"
    with pytest.raises(RecordError, match=words):
        features.precompute([gone, *records])
    assert features.precompute([records[0], records[2]]).reused == 2


def test_a_full_disk_is_no_fault_of_a_clip(tmp_path, monkeypatch):
    records, features = toy.records(tmp_path, clips=2), _features(tiny.base(), tmp_path)

    def full(*_, **__):
        raise PlaceError(28, "No space left on device", "store")

    monkeypatch.setattr(features.cache, "put", full)
    with pytest.raises(PlaceError):
        features.precompute(records)
