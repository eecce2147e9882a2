"""The aligned start from clips: residuals become like visual tokens, and no question is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from helpers import tiny, toy
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, Record, Turn, write_records
from pave.errors import ConfigError, TrainError
from pave.model import PatchedModel
from pave.patches import read_config
from pave.train import TrainConfig, start, train
from pave.train.align import AlignSettings
from pave.train.align_clips import Spread, align_to_clips
from pave.train.control import without_channel
from pave.train.run import _aligned_from


def _setting(folder, family="llava_onevision", clips=8, **fusion):
    base = tiny.base(family)
    records = toy.records(folder, clips=clips, questions=1)
    encoder = make_encoder("features", "file", {"dim": toy.DIM, "rate": 2.0})
    features = Features(base, {"features": encoder}, TokenCache(folder / "store"), frames=4)
    patched = PatchedModel(base)
    settings = {"side_dim": toy.DIM, "hidden": 16, "heads": 2, "layers": 1, **fusion}
    name = patched.new_patch("features", encoder=None, fusion=settings, seed=0)
    return patched, patched.patches[name].fusion, records, features


def _settings(steps=40, **values):
    return AlignSettings("features", **{"steps": steps, "share": 0.25, "seed": 0, **values})


def _on_one_picture(fusion, records, features):
    """Residuals of all signals on the first clip's picture, `[signals, T * S, D]`."""
    fusion.eval()
    clip = features[records[0]]
    sides = [features[record].channels["features"] for record in records]
    count = len(sides)
    with torch.no_grad():
        residuals = fusion(
            [clip.visual.query] * count,
            [side.values for side in sides],
            [clip.clip.times] * count,
            [side.times for side in sides],
        )
    return torch.stack(residuals).flatten(1, 2).double().numpy()


def test_the_distance_of_statistics_by_hand() -> None:
    spread = Spread(mean=torch.tensor([5.0, 5.0]), variance=torch.tensor([1.0, 7.0]), size=1.0)
    assert float(spread.scale) == 2  # the root of (1 + 7) / 2
    # Two signals, one place. Means 3 and 4 are 5 / sqrt(2) away; variances 2 and 0, where
    # 1/4 and 7/4 are wanted, are 7/4 away.
    residuals = torch.tensor([[[2.0, 4.0]], [[4.0, 4.0]]])
    assert float(spread.gap(residuals)) == pytest.approx(5 / 2**0.5 + 7 / 4)


def test_residuals_get_the_statistics_of_visual_tokens(tmp_path) -> None:
    """Mean, variance and size, computed here with NumPy from all residuals on one picture."""
    patched, fusion, records, features = _setting(tmp_path)
    sights = features[records[0]].visual.grid().flatten(0, 1).double().numpy()  # all clips show it
    wanted = sights.var(0) / sights.var(0).mean()

    def distances():
        residuals = _on_one_picture(fusion, records, features)
        unit = np.sqrt(np.square(residuals).mean())
        mean = residuals.mean((0, 1)) / unit
        # What differs between signals, and what is the same for all of them.
        between = residuals.var(0, ddof=1).mean(0) / unit**2
        return np.square(mean).mean(), np.square(between - wanted).mean(), between.mean()

    with torch.no_grad():
        fusion.norm.weight.fill_(1.0)
    mean, variance, between = distances()
    report = align_to_clips(patched, fusion, records, features, _settings(steps=80))
    after = distances()
    assert (report.clips, report.layers) == (8, 2)
    assert report.after < 0.75 * report.before
    assert after[0] < 0.5 * mean and after[1] < 0.75 * variance and after[2] > 1.5 * between
    # All clips show one picture, so the residuals on it are those of the clips' own.
    size = np.sqrt(np.square(_on_one_picture(fusion, records, features)).mean())
    assert size == pytest.approx(0.25 * np.sqrt(np.square(sights).mean()), rel=1e-3)


def test_questions_and_answers_are_not_read(tmp_path) -> None:
    states = []
    for name in ("one", "other"):
        patched, fusion, records, features = _setting(tmp_path / name)
        if name == "other":
            turns = [Turn(question="?")]
            records = [record.model_copy(update={"turns": turns}) for record in records]
        before = torch.random.get_rng_state()
        align_to_clips(patched, fusion, records, features, _settings(steps=3))
        assert torch.equal(before, torch.random.get_rng_state())
        states.append(fusion.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_base_stays_the_base(tmp_path, family) -> None:
    """In every family, and with the patch off its logits are those of before, bit for bit."""
    patched, fusion, records, features = _setting(tmp_path, family, clips=3)
    clip = features[records[0]]
    prompt = patched.base.encode_prompt(clip.clip.text, [("What?", None)]).ask()
    inputs = patched.base.batch([prompt], [clip.clip], pixels=False)
    with torch.no_grad(), patched.disable_patches():
        before = patched(**inputs, visuals=[clip.visual]).logits
    report = align_to_clips(patched, fusion, records, features, _settings(steps=1))
    assert report.layers >= 1 and 0 < report.after < 100
    fusion.eval()
    with torch.no_grad():
        # Without the channel, and without the patch.
        assert torch.equal(patched(**inputs, visuals=[clip.visual], channels=[{}]).logits, before)
        shown = {"visuals": [clip.visual], "channels": [clip.channels]}
        assert not torch.equal(patched(**inputs, **shown).logits, before)
        with patched.disable_patches():
            assert torch.equal(patched(**inputs, **shown).logits, before)


def test_what_it_refuses(tmp_path) -> None:
    patched, fusion, records, features = _setting(tmp_path, output_norm=False)
    with pytest.raises(ConfigError, match="output norm"):
        align_to_clips(patched, fusion, records, features, _settings())
    patched, fusion, records, features = _setting(tmp_path / "other")
    with pytest.raises(ConfigError, match="1 clip with the channel 'features'"):
        align_to_clips(patched, fusion, records[:1], features, _settings())
    needed = {"records": "r", "out": "o", "align_clips": "c"}
    sound = {**needed, "channel": "audio", "encoder": "mel"}
    for values, words in (
        (sound, "align_steps is 0"),
        ({**needed, "align_steps": 3}, "align_steps needs a channel"),
        ({**sound, "align_steps": 3, "align_families": ("far",)}, "leave one of the two out"),
        ({**sound, "align_steps": 3, "engine": "fsdp"}, "whole language model"),
        ({**sound, "align_steps": 3, "start_from": "p"}, "would replace"),
        ({**sound, "align_steps": 3, "fusion": {"type": "concat"}}, "concat appends"),
    ):
        with pytest.raises(ValidationError, match=words):
            TrainConfig.model_validate(values)


def _run(folder, out="run", **more):
    """A run on few records, whose start knows more clips; those ask nothing that is known."""
    made = toy.records(folder, clips=6, questions=2)
    silent = [
        record.model_copy(update={"turns": [Turn(question="?")], "id": f"clip-{record.id}"})
        for record in made
    ]
    write_records(folder / "clips.jsonl", silent)
    write_records(folder / "records.jsonl", made[:4])
    settings = {"align_steps": 3, "align_clips": folder / "clips.jsonl", "align_share": 0.2}
    settings |= {"steps": 2, "batch_clips": 2, "save_every": 1, "fusion__dropout": 0.1}
    return toy.config(folder, out, **settings, **more)


def test_a_run_starts_from_clips_and_goes_on_bit_equal(tmp_path, caplog) -> None:
    config = _run(tmp_path, lr_fusion=1e-6, lr_gate=1e-6)
    with caplog.at_level("INFO", logger="pave"):
        again = toy.gone_on(config)
    assert again.resumed_from == 1
    # Once: a resumed run has moved on from there.
    assert caplog.text.count("aligned start from 6 clips without their questions") == 1
    training = read_config(again.patch).training
    assert training["align_clips"] == "clips.jsonl (6 clips)"
    assert (training["clips"], training["questions"]) == (2, 4)
    row = (config.out / "train_log.jsonl").read_text().splitlines()[0]
    assert 0.1 < float(row.split('"residual_ratio": ')[1].split(",")[0]) < 0.3
    # Other clips make another run.
    write_records(tmp_path / "clips.jsonl", toy.records(tmp_path, clips=6, questions=1)[:5])
    with pytest.raises(TrainError, match="align_clips"):
        train(config, base=tiny.base(), progress=False)


def test_every_channel_learns_from_the_clips_that_have_it(tmp_path, monkeypatch) -> None:
    config = _run(tmp_path)
    seen = []
    monkeypatch.setattr(
        start,
        "align_to_clips",
        lambda patched, fusion, clips, features, settings: seen.append(
            (settings.channel, settings.name, len(clips))
        ),
    )
    part = {"encoder": "file", "encoder_settings": {"dim": toy.DIM, "rate": 2.0}}
    channels = {"features": {**part, "fusion": config.fusion}, "audio": {"encoder": "mel"}}
    joint = config.model_copy(
        update={"channel": None, "encoder": None, "encoder_settings": {}, "fusion": {}}
    )
    joint = TrainConfig.model_validate({**joint.model_dump(), "channels": channels})
    train(joint, base=tiny.base(), progress=False)
    assert [(channel, clips) for channel, _, clips in seen] == [("features", 6), ("audio", 6)]
    assert len({name for _, name, _ in seen}) == 2


def test_the_control_has_none(tmp_path) -> None:
    control = without_channel(_run(tmp_path))
    assert (control.align_clips, control.align_steps) == (None, 0)


def test_clips_of_a_question_gate_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    clips = []
    for name in ("a", "b", "c"):
        turn = Turn(question="?", answer="dog")
        clips.append(Record(id=name, video=f"{name}.mp4", turns=[turn]))
    first, second, third = clips
    # Under other ids, as in the file of all clips.
    others = [clip.model_copy(update={"id": f"x-{clip.id}"}) for clip in clips]
    lessons: Any = SimpleNamespace(
        groups=[[first], [second], [third]], for_gate=frozenset({1}), to_align=others
    )
    with caplog.at_level("INFO"):
        assert [record.id for record in _aligned_from(lessons)] == ["x-a", "x-c"]
    assert "align_clips: 1 clip left out" in caplog.text
