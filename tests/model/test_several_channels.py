"""Patches with several channels: exactness, their folders, and how they are combined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from helpers import tiny, tiny_patch
from pave.bases import Base
from pave.cli import main
from pave.errors import ConfigError, PatchError
from pave.model import PatchedModel
from pave.model.combine import combine_patches
from pave.model.published import check_probe, make_probe
from pave.patches import LoraSpec, NewChannel, read_config
from pave.patches.config import PatchConfig

HEARD = {"audio": tiny_patch.tokens(5, seed=3)}
SEEN = {"views": tiny_patch.tokens(4, seed=5)}
SIDES = {
    "both": [{**HEARD, **SEEN}, {**HEARD, **SEEN}],
    "one": [HEARD, HEARD],
    "other": [SEEN, SEEN],
    "mixed": [HEARD, SEEN],
    "half": [{**HEARD, **SEEN}, {}],
    "none": [{}, {}],
}

# A family takes seconds: one at once, the others in the slow tests.
FAST = "llava_onevision"
FAMILIES = [
    pytest.param(family, marks=() if family == FAST else pytest.mark.slow)
    for family in tiny.FAMILIES
]


def _single(folder: Path, family: str, channel: str, seed: int, **options: Any) -> Path:
    """A saved patch of one channel with random weights."""
    model = PatchedModel(tiny.base(family))
    spec = LoraSpec(rank=2, alpha=4, dropout=0.0)
    tiny_patch.add(model, channel, seed=seed, **{"lora": spec, **options})
    return model.save_patch(folder / channel, licence="mit")


def _singles(folder: Path, family: str = "llava_onevision", **options: Any) -> list[Path]:
    return [
        _single(folder, family, "audio", 1, **options),
        _single(folder, family, "views", 2, **options),
    ]


def _logits(model: Any, base: Base, family: str, side: Any) -> Tensor:
    inputs = tiny.inputs(base, tiny_patch.ragged(family))
    times = [clip.times for clip in tiny.clips(base, tiny_patch.ragged(family))]
    with torch.no_grad():
        if isinstance(model, PatchedModel):
            inputs |= {"channels": side, "times": times}
        found: Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_apart_is_side_by_side_to_the_bit(family: str, tmp_path: Path) -> None:
    """With every set of channels; without any it is the base; and so it is after saving again."""
    singles = _singles(tmp_path, family)
    beside = PatchedModel(tiny.base(family))
    for single in singles:
        beside.load_patch(single)
    base = tiny.base(family)
    plain = base.model(**tiny.inputs(base, tiny_patch.ragged(family))).logits.detach()
    joined = combine_patches(singles, tmp_path / "joined", base)
    model = PatchedModel(base)
    name = model.load_patch(joined)
    again = PatchedModel(tiny.base(family))
    again.load_patch(model.save_patch(tmp_path / "again"))
    for what, side in SIDES.items():
        found = _logits(model, base, family, side)
        assert torch.equal(found, _logits(beside, beside.base, family, side)), what
        assert torch.equal(found, _logits(again, again.base, family, side)), what
        assert torch.equal(found, plain) == (what == "none")
    model.set_patches({name: 0.0})
    assert torch.equal(_logits(model, base, family, SIDES["both"]), plain)
    model.unpatch()
    assert torch.equal(base.model(**tiny.inputs(base, tiny_patch.ragged(family))).logits, plain)


def _new(family: str, *, apart: bool, awake: bool = True) -> PatchedModel:
    """A patch of two channels that was made as one."""
    model = PatchedModel(tiny.base(family))
    one = NewChannel(None, fusion={"side_dim": tiny_patch.DIM, "hidden": 16})
    spec = LoraSpec(rank=2, alpha=4, dropout=0.0)
    name = model.new_patch(
        {"audio": one, "views": one}, name="senses", lora=spec, lora_per_channel=apart, seed=1
    )
    if awake:
        tiny_patch.wake(model, name)
    return model


@pytest.mark.parametrize("apart", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_that_is_made_with_several_channels(
    family: str, apart: bool, tmp_path: Path
) -> None:
    """Fresh it is the base; trained it is exact where channels are missing, and in its folder."""
    fresh = _new(family, apart=apart, awake=False)
    base = fresh.base
    plain = _logits(base.model, base, family, None)
    for side in SIDES.values():
        assert torch.equal(_logits(fresh, base, family, side), plain)
    fresh.unpatch()
    model = _new(family, apart=apart)
    again = PatchedModel(base)
    again.load_patch(model.save_patch(tmp_path / "senses"))
    for what, side in SIDES.items():
        found = _logits(model, model.base, family, side)
        assert torch.equal(found, _logits(again, base, family, side)), what
        assert torch.equal(found, plain) == (what == "none")
    half = _logits(model, model.base, family, SIDES["half"])
    moved = [not torch.equal(row, own) for row, own in zip(half, plain, strict=True)]
    assert moved == [True, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_in_training_loras_work_where_they_do_in_answers(family: str) -> None:
    """Also row by row, and when checkpointing runs the layers again."""
    model = _new(family, apart=True)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        for what in ("mixed", "half", "one"):
            model.eval()
            wanted = _logits(model, model.base, family, SIDES[what])
            model.train()
            model.zero_grad()
            found = _train_logits(model, family, SIDES[what])
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
            found.float().square().mean().backward()
            gradients.append(_gradients(model))
    half = len(gradients) // 2
    for plain, checkpointed in zip(gradients[:half], gradients[half:], strict=True):
        assert plain.keys() == checkpointed.keys()
        for name, gradient in plain.items():
            torch.testing.assert_close(gradient, checkpointed[name], atol=1e-4, rtol=1e-3)
    # With one channel alone, the other one's LoRA is out of it.
    assert any("lora.audio" in name for name in gradients[-1])
    assert not any("lora.views" in name for name in gradients[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_gradients_of_several_channels(family: str) -> None:
    """As many tokens as the base, answers of the base without them, and nothing else trains."""
    model = _new(family, apart=True)
    base = model.base
    frames = tiny_patch.ragged(family)
    clips, inputs = tiny.clips(base, frames), tiny.inputs(base, frames)
    times = [clip.times for clip in clips]
    with torch.no_grad():
        visuals = base.visual(clips, want_query=True)
    fused = model.seam.fuse(visuals, SIDES["both"], times)
    assert [clip.layout for clip in fused] == [clip.layout for clip in visuals]
    assert [clip.tokens.shape for clip in fused] == [clip.tokens.shape for clip in visuals]
    assert not torch.equal(fused[0].tokens, visuals[0].tokens)
    greedy = {"max_new_tokens": 2, "do_sample": False}
    with model.disable_patches():
        plain = model.generate(SIDES["both"], times, **inputs, **greedy)
    assert torch.equal(model.generate(SIDES["none"], times, **inputs, **greedy), plain)
    model.train()
    loss = _train_logits(model, family, SIDES["both"]).float().square().mean()
    loss.backward()
    touched = {id(p) for p in model.parameters() if p.grad is not None}
    trainable = model.trainable_parameters()
    assert touched == {id(p) for p in trainable.values()}
    kinds = {name for name in ("lora.audio", "lora.views") if any(name in key for key in trainable)}
    assert kinds == {"lora.audio", "lora.views"}


def _train_logits(model: PatchedModel, family: str, side: Any) -> Tensor:
    inputs = tiny.inputs(model.base, tiny_patch.ragged(family))
    times = [clip.times for clip in tiny.clips(model.base, tiny_patch.ragged(family))]
    found: Tensor = model(side, times, **inputs).logits
    return found


def _gradients(model: PatchedModel) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.trainable_parameters().items():
        if parameter.grad is not None:
            found[name] = parameter.grad.clone()
    return found


def test_what_a_new_patch_of_several_channels_cannot_have() -> None:
    model = PatchedModel(tiny.base())
    one = NewChannel(None, fusion={"side_dim": 4})
    for channel, options, words in (
        (
            {"audio": one, "views": one},
            {"encoder": "tower"},
            "each needs its own encoder and fusion",
        ),
        ("audio", {"lora": LoraSpec(), "lora_per_channel": True}, "needs at least two channels"),
        ({"audio": one, "views": one}, {"lora_per_channel": True}, "and a LoRA"),
        ({"audio": NewChannel(None), "views": one}, {}, "'audio' has no encoder"),
    ):
        with pytest.raises(ConfigError, match=words):
            model.new_patch(channel, **options)  # type: ignore[arg-type]
    assert not model.patches


@pytest.mark.parametrize("family", [FAST, "qwen2_vl"])
def test_with_a_shared_lora_a_missing_channel_is_exact(family: str, tmp_path: Path) -> None:
    """Nothing at all is the base; one channel is the patch without the other's residual."""
    base = tiny.base(family)
    plain = base.model(**tiny.inputs(base, tiny_patch.ragged(family))).logits.detach()
    joined = combine_patches(_singles(tmp_path, family), tmp_path / "joined", base, "cat")
    assert read_config(joined).lora == LoraSpec(
        rank=4, alpha=4, dropout=0.0, targets=tuple(sorted(base.family.lora_targets))
    )
    model = PatchedModel(base)
    model.load_patch(joined, name="senses")
    assert torch.equal(_logits(model, base, family, SIDES["none"]), plain)
    half = _logits(model, base, family, SIDES["half"])
    moved = [not torch.equal(row, own) for row, own in zip(half, plain, strict=True)]
    assert moved == [True, False]
    # By hand: a side of no tokens is no side.
    nothing = {"views": tiny_patch.tokens(0)}
    with_nothing = [{**HEARD, **nothing}, {**HEARD, **nothing}]
    assert torch.equal(
        _logits(model, base, family, SIDES["one"]), _logits(model, base, family, with_nothing)
    )
    # Tokens by the name of the patch's channel are those of the channel.
    named = [{"senses.audio": HEARD["audio"]}] * 2
    assert torch.equal(
        _logits(model, base, family, SIDES["one"]), _logits(model, base, family, named)
    )


def test_stacked_loras_are_the_sum(tmp_path: Path) -> None:
    singles = _singles(tmp_path)
    base = tiny.base()
    beside, model = PatchedModel(tiny.base()), PatchedModel(base)
    for single in singles:
        beside.load_patch(single)
    model.load_patch(combine_patches(singles, tmp_path / "joined", base, "cat"))
    found = _logits(model, base, "llava_onevision", SIDES["both"])
    wanted = _logits(beside, beside.base, "llava_onevision", SIDES["both"])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("how", ["linear", "ties", "dare", "svd"])
def test_loras_are_joined_as_peft_joins_them(how: Any, tmp_path: Path) -> None:
    """The same call of peft by hand, and the folder in plain peft."""
    singles = _singles(tmp_path)
    joined = combine_patches(singles, tmp_path / "joined", tiny.base(), how, density=0.6, seed=3)
    base = tiny.base()
    theirs: Any = PeftModel.from_pretrained(base.model, singles[0] / "lora", adapter_name="a")
    theirs.load_adapter(singles[1] / "lora", adapter_name="b")
    kind = {"dare": "dare_linear"}.get(how, how)
    density = {"density": 0.6} if how in ("ties", "dare") else {}
    torch.manual_seed(3)
    theirs.add_weighted_adapter(["a", "b"], [1.0, 1.0], "c", combination_type=kind, **density)
    theirs.set_adapter("c")
    ours = PeftModel.from_pretrained(tiny.base().model, joined, subfolder="lora")
    with torch.no_grad():
        inputs = tiny.inputs(base)
        torch.testing.assert_close(
            ours(**inputs).logits, theirs(**inputs).logits, atol=1e-4, rtol=1e-4
        )


def test_what_the_folder_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    singles = _singles(tmp_path)
    joined = combine_patches(singles, tmp_path / "joined", tiny.base())
    written = json.loads((joined / "patch.json").read_text())
    # Older versions refuse any other number than 1, with the advice to update.
    assert written["schema_version"] == 2
    assert json.loads((singles[0] / "patch.json").read_text())["schema_version"] == 1
    assert "channels" not in json.loads((singles[0] / "patch.json").read_text())
    assert sorted(written["files"]) == [
        "fusion.safetensors",
        "lora-audio/adapter_config.json",
        "lora-audio/adapter_model.safetensors",
        "lora-views/adapter_config.json",
        "lora-views/adapter_model.safetensors",
    ]
    card = (joined / "README.md").read_text()
    assert "A patch with several channels" in card and "| encoder of views |" in card
    assert "- audio\n- views\n- lora" in card and written["licence"] == "mit"
    assert main(["info", str(joined)]) == 0
    told = capsys.readouterr().out
    assert "channels" in told and "audio" in told and "views" in told
    model = PatchedModel(tiny.base())
    name = model.load_patch(joined)
    assert list(model.info()["patches"][name]["channels"]) == ["audio", "views"]
    with pytest.raises(PatchError, match="name the channel whose encoder"):
        model.encoder(name)
    with pytest.raises(PatchError, match="has no channel 'frames'"):
        model.encoder(name, "frames")
    probe = make_probe(model, name)
    model.save_patch(tmp_path / "probed", name, probe=probe)
    other = PatchedModel(tiny.base())
    assert check_probe(other, other.load_patch(tmp_path / "probed")).verdict == "equal"


def test_a_question_hears_what_there_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    joined = combine_patches(_singles(tmp_path), tmp_path / "joined", tiny.base())
    model = PatchedModel(tiny.base())
    model.load_patch(joined, name="senses")
    frames = tiny.frames(4)
    base = tiny.base()
    asked = "What is this?"
    both = model.ask(frames, asked, channels={**HEARD, **SEEN}, max_new_tokens=8)
    assert both != model.ask(frames, asked, max_new_tokens=8)
    assert "goes without it" in caplog.text
    assert PatchedModel(base).ask(frames, asked, max_new_tokens=8) == model.ask(
        frames, asked, max_new_tokens=8
    )
    one = model.ask(frames, asked, channels=HEARD, max_new_tokens=8)
    named = {"senses.audio": HEARD["audio"]}
    assert model.ask(frames, asked, channels=named, max_new_tokens=8) == one
    alone = PatchedModel(tiny.base())
    alone.load_patch(tmp_path / "audio")
    assert alone.ask(frames, asked, channels=HEARD, max_new_tokens=8) == one


def test_what_cannot_be_combined_is_refused(tmp_path: Path) -> None:
    singles = _singles(tmp_path)
    base = tiny.base()
    with pytest.raises(PatchError, match="both have the channel audio"):
        combine_patches([singles[0], singles[0]], tmp_path / "joined", base)
    joined = combine_patches(singles, tmp_path / "joined", base)
    with pytest.raises(PatchError, match="already has several channels"):
        combine_patches([joined, singles[0]], tmp_path / "more", base)
    wide = _single(tmp_path / "wide", "llava_onevision", "views", 2, lora=LoraSpec(rank=3))
    with pytest.raises(PatchError, match=r"linear needs LoRAs of the same rank, .* 2, 3; use cat"):
        combine_patches([singles[0], wide], tmp_path / "more", base, "linear")
    assert main(["combine", *map(str, singles), "--out", "x", "--density", "0"]) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"channel": "audio"}, "not both"),
        ({"schema_version": 1}, "several channels need schema version 2"),
        ({"channels": {"../audio": {}, "views": {}}}, "use a single word"),
        ({"channels": {"audio": {}}}, "names it in `channel`"),
        ({"lora": {"rank": 2}}, "share a LoRA or have one each"),
    ],
)
def test_folders_that_contradict_themselves(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    joined = combine_patches(_singles(tmp_path), tmp_path / "joined", tiny.base())
    written = json.loads((joined / "patch.json").read_text())
    for channel, spec in changes.get("channels", {}).items():
        spec.update(written["channels"].get(channel, written["channels"]["audio"]))
    with pytest.raises((ValueError, ConfigError), match=told):
        PatchConfig.model_validate({**written, **changes})
