"""The concat arm: side tokens behind the visual ones, on every family that has a place for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from helpers import tiny, tinyrun, toy
from pave.bases import Base
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import ClipFeatures, Features
from pave.data.room import clip_with_room, visual_with_room, why_no_room
from pave.errors import ChannelError, ConfigError, PatchError
from pave.evaluate import EvalConfig, evaluate
from pave.model import PatchedModel
from pave.model.combine import combine_patches
from pave.tokens import Tokens
from pave.train import TrainConfig, train

TAKES = ("llava_onevision", "llava_next_video")
SIDE = Tokens(torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(3)), torch.arange(5.0))
PLACES = 10


def _patched(base: Base) -> PatchedModel:
    model = PatchedModel(base)
    settings = {"dim": 8}
    model.new_patch(
        "features", name="p", encoder="file", encoder_settings=settings,
        fusion={"type": "concat", "hidden": 16}, lora=None, seed=0,
    )  # fmt: skip
    return model


def _seen(base: Base, room: int) -> ClipFeatures:
    """A clip with room behind it."""
    (clip,) = tiny.clips(base, (4,))
    (visual,) = base.visual([clip])
    side = {"features": SIDE}
    return ClipFeatures(clip_with_room(base, clip, room), visual_with_room(visual, room), side)


@pytest.mark.parametrize("family", TAKES)
def test_the_language_model_reads_them_behind_the_visual_tokens(family: str) -> None:
    """The same logits as embeddings that are laid behind each other by hand."""
    base = tiny.base(family)
    model = _patched(base)
    seen = _seen(base, PLACES)
    ids = base.encode_prompt(seen.clip.text, [("What?", None)]).dialogue()
    plain = base.encode_prompt(tiny.clips(base, (4,))[0].text, [("What?", None)]).dialogue()
    assert len(ids) == len(plain) + PLACES
    inputs = base.batch([ids], [seen.clip], pixels=False)
    side = {"visuals": [seen.visual], "channels": [seen.channels], "times": [seen.clip.times]}
    with torch.no_grad():
        logits = model(**inputs, **side).logits
        (part,) = model.patches["p"].parts.values()
        # A projector by hand: norm, layer, GELU, layer.
        flat = SIDE.values.reshape(PLACES, 8)
        fusion = part.fusion
        normed = torch.nn.functional.layer_norm(flat, (8,), fusion.norm.weight, fusion.norm.bias)
        hidden = torch.nn.functional.gelu(fusion.hidden(normed))
        behind = fusion.output(hidden)
        model.unpatch()
        own = seen.visual.tokens[:-PLACES]
        assert own.abs().sum() > 0 and not seen.visual.tokens[-PLACES:].any()
        embeds = base.model.get_input_embeddings()(inputs["input_ids"])
        embeds[inputs["input_ids"] == base.placeholder_id] = torch.cat([own, behind]).to(embeds)
        language = getattr(base.inner, base.family.language_model)
        found = language(inputs_embeds=embeds, attention_mask=inputs["attention_mask"])
        expected = base.model.get_output_embeddings()(found.last_hidden_state)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_without_room_it_is_refused() -> None:
    base = tiny.base()
    model = _patched(base)
    seen = _seen(base, 0)
    ids = base.encode_prompt(seen.clip.text, [("What?", None)]).dialogue()
    inputs = base.batch([ids], [seen.clip], pixels=False)
    with pytest.raises(
        ChannelError, match="appends 10 tokens to a clip, and the prompt has room for 0"
    ):
        model(**inputs, visuals=[seen.visual], channels=[seen.channels])
    with pytest.raises(ChannelError, match="only pave train and pave eval"):
        model.ask(tiny.frames(4), "What?", channels={"features": SIDE}, max_new_tokens=1)
    # Off, or without the channel, it is the base.
    with torch.no_grad():
        plain = base.model(
            **inputs, pixel_values_videos=tiny.inputs(base, (4,))["pixel_values_videos"]
        )
        off = model(**inputs, visuals=[seen.visual], channels=[{}])
    assert torch.equal(off.logits, plain.logits)


@pytest.mark.parametrize("family", tiny.USUAL)
def test_families_without_a_place_say_so_in_one_line(family: str, tmp_path: Path) -> None:
    base = tiny.base(family)
    encoder = make_encoder("features", "file", {"dim": 8})
    made = {"encoders": {"p": encoder}, "cache": TokenCache(tmp_path), "appended": ["p"]}
    if why_no_room(base) is None:
        assert family in TAKES
        Features(base, **made)
        return
    assert family not in TAKES
    with pytest.raises(ConfigError, match="so nothing can be appended to them") as error:
        Features(base, **made)
    assert "\n" not in str(error.value)
    # The same encoder is fine where its tokens are added.
    Features(base, **{**made, "appended": ()})


def test_what_does_not_go_with_it(tmp_path: Path) -> None:
    plain = {
        "records": "r.jsonl", "out": "o", "channel": "audio", "encoder": "mel",
        "fusion": {"type": "concat"},
    }  # fmt: skip
    TrainConfig.model_validate(plain)
    for more, told in (
        ({"align_steps": 3}, "concat appends"),
        ({"modality_dropout": 0.5}, "places of a concat arm empty"),
    ):
        with pytest.raises(ValidationError, match=told):
            TrainConfig.model_validate({**plain, **more})
    both = {
        "audio": {"encoder": "mel", "fusion": {"type": "concat"}},
        "views": {"encoder": "tower"},
    }
    with pytest.raises(ValidationError, match="one channel"):
        TrainConfig.model_validate({"records": "r", "out": "o", "channels": both})
    base = tiny.base()
    folder = _patched(base).save_patch(tmp_path / "concat")
    other = tinyrun.patch(tiny.base(), tmp_path / "other", "audio")
    with pytest.raises(PatchError, match="appends its tokens"):
        combine_patches([folder, other], tmp_path / "both", tiny.base())


@pytest.mark.parametrize(
    "family", [TAKES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in TAKES[1:])]
)
def test_it_trains_and_is_asked_with_its_tokens_counted(family: str, tmp_path: Path) -> None:
    base = tiny.base(family)
    toy.records(tmp_path, clips=3, questions=2)
    settings = TrainConfig.model_validate(
        {
            "records": tmp_path / "records.jsonl", "out": tmp_path / "run", "channel": "features",
            "encoder": "file", "encoder_settings": {"dim": toy.DIM, "rate": 2.0}, "steps": 2,
            "fusion": {"type": "concat", "hidden": 16}, "questions_per_video": 2, "frames": 4,
            "batch_clips": 2, "workers": 0,
        }
    )  # fmt: skip
    frozen = {name: value.clone() for name, value in base.model.state_dict().items()}
    result = train(settings, base=base, progress=False)
    assert all(torch.equal(base.model.state_dict()[name], value) for name, value in frozen.items())
    config = EvalConfig(
        records=tmp_path / "records.jsonl", out=tmp_path / "eval", plot=False, frames=4,
        arms={"base": None, "concat": [result.patch]}, max_new_tokens=4, workers=0,
    )  # fmt: skip
    report = evaluate(config, base)
    # The clips have 5, 6 and 7 steps of one token.
    gap = report.prompt_tokens["concat"] - report.prompt_tokens["base"]
    assert gap == pytest.approx(6)
