"""Several patches on one base: sums, weights, switching, freezing, mixed batches, errors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer

from helpers import tiny, tiny_patch
from helpers.tiny_patch import Case, tokens
from pave.errors import BaseError, ChannelError, ConfigError, PatchError
from pave.fusion_costs import fusion_parameters
from pave.model import PatchedModel
from pave.model import seam as seam_module
from pave.model.seam import Call
from pave.patches import LoraSpec


@pytest.fixture
def two() -> Case:
    """Two awake patches on different channels."""
    made = tiny_patch.case()
    tiny_patch.add(made.model, "audio", seed=1)
    tiny_patch.add(made.model, "depth", seed=2)
    made.side = [
        {"audio": tokens(4), "depth": tokens(2, cells=3)},
        {"audio": tokens(3), "depth": tokens(6)},
    ]
    return made


def weights_of(case: Case) -> dict[str, float]:
    """Every patch's weight."""
    return {name: patch.weight for name, patch in case.model.patches.items()}


def test_patches_sum_switch_and_come_back(two: Case) -> None:
    both = two.run()
    two.model.set_patches({"audio": 1.0})
    audio = two.run()
    two.model.set_patches({"depth": 1})
    depth = two.run()
    for a, b in ((both, audio), (both, depth), (audio, depth), (audio, two.logits)):
        assert not torch.equal(a, b)
    assert weights_of(two) == {"audio": 0.0, "depth": 1.0}
    two.model.set_patches({"audio": 0.5, "depth": 0.25})
    assert not torch.equal(two.run(), both)
    two.model.set_patches({"audio": 0, "depth": 0})
    assert torch.equal(two.run(), two.logits)
    two.model.set_patches({"audio": 1.0, "depth": 1.0})
    assert torch.equal(two.run(), both)


def test_a_call_without_one_channel_is_a_call_without_that_patch(two: Case) -> None:
    only_audio = two.run([{"audio": side["audio"]} for side in two.side])
    two.model.set_patches({"audio": 1.0})
    assert torch.equal(only_audio, two.run())


def test_each_row_gets_the_patches_whose_channel_it_has(two: Case) -> None:
    mixed = two.run([{"audio": two.side[0]["audio"]}, {"depth": two.side[1]["depth"]}])
    for row, name in enumerate(("audio", "depth")):
        two.model.set_patches({name: 1.0})
        assert torch.equal(mixed[row], two.run()[row])


def test_weight_half_is_half_of_residual_and_lora(two: Case) -> None:
    model = two.model
    visuals = two.visuals()
    full = model.seam.fuse(visuals, [{"audio": s["audio"]} for s in two.side])
    model.set_patches({"audio": 0.5})
    half = model.seam.fuse(visuals, two.side)
    for before, one, part in zip(visuals, full, half, strict=True):
        assert torch.allclose(
            (one.tokens - before.tokens) / 2, part.tokens - before.tokens, atol=1e-5
        )
    layer = next(m for m in model.modules() if isinstance(m, LoraLayer))
    assert layer.scaling["audio"] == 1.0  # alpha 4 / rank 2, halved


def test_two_patches_on_one_channel_take_their_tokens_by_name() -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model, "audio", name="first", seed=1)
    tiny_patch.add(case.model, "audio", name="second", seed=2, fusion={"side_dim": 3})
    case.model.set_patches({"first": 1, "second": 1})
    named = case.run([{"first": tokens(4), "second": tokens(4, dim=3)}] * 2)
    case.model.set_patches({"second": 1})
    assert not torch.equal(named, case.run([{"audio": tokens(4, dim=3)}] * 2))


def test_a_lora_only_patch_is_always_on_and_has_no_fusion() -> None:
    case = tiny_patch.case()
    assert tiny_patch.add(case.model, None) == "lora"
    assert case.model.patches["lora"].fusion is None
    on = case.run(None)
    assert not torch.equal(on, case.logits)
    assert torch.equal(case.run([{}, {}]), on)
    tiny_patch.add(case.model, "audio", seed=5)
    assert torch.equal(case.run(None), on)
    mixed = case.run([case.side[0], {}])
    assert torch.equal(mixed[1], on[1])
    assert not torch.equal(mixed[0], on[0])


def test_training_keeps_every_lora_on() -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model, lora=LoraSpec(rank=2, dropout=0.0))
    case.model.train()
    assert not torch.equal(case.run(None), case.logits)
    case.model.eval()
    assert torch.equal(case.run(None), case.logits)


def test_a_second_patch_trains_on_top_of_a_frozen_first(two: Case) -> None:
    two.model.set_trainable("audio", False)
    assert {key.split(".")[0] for key in two.model.trainable_parameters()} == {"depth"}
    two.model.train()(
        two.side, two.times, **two.inputs, labels=two.inputs["input_ids"]
    ).loss.backward()
    reached = [name for name, p in two.model.named_parameters() if p.grad is not None]
    assert reached
    assert all("depth" in name for name in reached)
    two.model.set_patches({"audio": 1.0, "depth": 1.0})  # switching does not thaw
    assert {key.split(".")[0] for key in two.model.trainable_parameters()} == {"depth"}
    assert all("depth" in name for name, p in two.model.named_parameters() if p.requires_grad)
    droppers = {
        name: module.training
        for name, module in two.model.named_modules()
        if isinstance(module, torch.nn.Dropout)
    }
    assert not any(
        on for name, on in droppers.items() if "audio" in name
    )  # a frozen patch gives no noise
    assert any(on for name, on in droppers.items() if "depth" in name)


def test_trainable_state_goes_out_and_in_strictly(two: Case) -> None:
    state = {key: value.detach().clone() for key, value in two.model.trainable_parameters().items()}
    before = two.run()
    tiny_patch.wake(two.model, "audio", seed=9)
    assert not torch.equal(two.run(), before)
    two.model.load_trainable(state)
    assert torch.equal(two.run(), before)
    key = next(iter(state))
    with pytest.raises(PatchError, match="is missing"):
        two.model.load_trainable({k: v for k, v in state.items() if k != key})
    with pytest.raises(PatchError, match="is unexpected"):
        two.model.load_trainable({**state, "more": state[key]})
    with pytest.raises(PatchError, match="has shape"):
        two.model.load_trainable({**state, key: torch.zeros(1)})


def test_deleting_one_patch_leaves_the_other(two: Case) -> None:
    two.model.set_patches({"depth": 1.0})
    depth = two.run()
    two.model.delete_patch("audio")
    assert torch.equal(two.run(), depth)
    two.model.delete_patch("depth")
    assert torch.equal(two.run(), two.logits)
    assert not any("lora" in name for name, _ in two.model.named_parameters())
    tiny_patch.add(two.model, "audio", seed=1)
    assert not torch.equal(two.run(), two.logits)


def test_deepcopy_is_independent(two: Case) -> None:
    patched = two.run()
    twin = copy.deepcopy(two.model)
    tiny_patch.wake(two.model, "audio", seed=9)
    two.model.set_patches({})
    with torch.no_grad():
        assert torch.equal(twin(two.side, two.times, **two.inputs).logits, patched)
    assert twin.seam.owner is twin.model.model
    assert (
        twin.seam.patches is twin.patches
        and twin.patches["audio"] is not two.model.patches["audio"]
    )
    assert twin.lock is not two.model.lock
    assert twin.base.model is twin.model
    two.model.unpatch()
    with torch.no_grad():
        assert torch.equal(twin(two.side, two.times, **two.inputs).logits, patched)


def test_an_error_inside_the_call_leaves_nothing_behind(two: Case) -> None:
    patched = two.run()
    for side in (
        [two.side[0]],
        [{"audio": tokens(dim=9)}, {}],
        [{"audio": tokens()}, {"depth": tokens(dim=9)}],
    ):
        with pytest.raises(ChannelError):
            two.run(side)
        assert seam_module._CALL.get() == Call()
    with pytest.raises(IndexError):
        two.run(input_ids=two.inputs["input_ids"] + 10_000)
    assert torch.equal(two.run(), patched)
    with pytest.raises(RuntimeError, match="boom"), two.model.disable_patches():
        raise RuntimeError("boom")
    assert torch.equal(two.run(), patched)


def test_casting_the_model_leaves_the_fusion_in_fp32(two: Case) -> None:
    before = {key: value.clone() for key, value in two.model.patches.state_dict().items()}
    two.model.to(torch.bfloat16).half().to("cpu", torch.bfloat16)
    assert two.base.dtype == torch.bfloat16
    after = two.model.patches.state_dict()
    assert all(
        torch.equal(after[key], value) and after[key].dtype == torch.float32
        for key, value in before.items()
    )
    with two.model.disable_patches():
        plain = two.run()
    assert torch.equal(two.run(None), plain)
    assert not torch.equal(two.run(), plain)


def test_autocast_keeps_a_fresh_patch_exact() -> None:
    case = tiny_patch.case()
    with torch.autocast("cpu", torch.bfloat16):
        plain = case.run(None)
        tiny_patch.add(case.model, awake=False)
        assert torch.equal(case.run(), plain)


@pytest.mark.parametrize("cached", [False, True])
def test_rows_with_several_clips(cached: bool) -> None:
    base = tiny.base()
    clips = tiny.clips(base, (2, 2, 2))
    prompts = [
        base.encode_prompt(text, [("What?", None)]).ask()
        for text in (clips[0].text + clips[1].text, clips[2].text)
    ]
    inputs = base.batch(prompts, pad="left")
    inputs["pixel_values_videos"] = torch.cat(
        [clip.pixels["pixel_values_videos"] for clip in clips]
    )
    with torch.no_grad():
        plain = base.model(**inputs).logits
    model = PatchedModel(base)
    tiny_patch.add(model)
    visuals = base.visual(clips) if cached else None
    if cached:
        del inputs["pixel_values_videos"]

    def run(side: Any) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = model(side, None, visuals, **inputs).logits
        return result

    has = {"audio": tokens(4)}
    everywhere = run([has, has, has])
    assert not torch.equal(everywhere, plain)
    if not cached:
        with pytest.raises(ChannelError, match="rows hold several clips"):
            run([{}, {}, has])
        return
    second = run([{}, {}, has])
    assert torch.allclose(second[0], plain[0], atol=1e-5)
    assert torch.equal(second[1], everywhere[1])
    first = run([{}, has, {}])
    assert torch.allclose(first[1], plain[1], atol=1e-5)
    assert not torch.allclose(first[0], plain[0], atol=1e-3)


def test_pixels_and_visual_tokens_exclude_each_other(two: Case) -> None:
    with pytest.raises(ChannelError, match="not both"):
        two.model(two.side, two.times, two.visuals(), **two.inputs)
    with pytest.raises(ChannelError, match="side channel entries: got 1 for 2 encoded clips"):
        two.model([{}], None, two.visuals(), **two.light())


def test_only_the_logits_asked_for_are_computed(two: Case) -> None:
    last = two.run(logits_to_keep=1)
    assert last.shape[1] == 1
    assert torch.allclose(last, two.run()[:, -1:], atol=1e-5)


def test_info_and_summary_count_what_is_there(two: Case) -> None:
    info = two.model.info()
    row = info["patches"]["audio"]
    assert row["channel"] == "audio"
    assert row["weight"] == 1.0
    assert row["trainable"] is True
    config = two.model.patches["audio"].config.fusion
    assert config is not None
    assert row["fusion_parameters"] == fusion_parameters(config)
    assert (
        info["patch_parameters"]
        == info["trainable_parameters"]
        == sum(p.numel() for p in two.model.parameters() if p.requires_grad)
    )
    assert two.model.summary().startswith(f"trainable: {info['trainable_parameters']:,} of ")


def test_seeds_fix_a_fresh_patch_and_leave_the_random_state_alone() -> None:
    states = []
    for _ in range(2):
        case = tiny_patch.case()
        torch.manual_seed(len(states))
        expected = torch.random.get_rng_state()
        tiny_patch.add(case.model, awake=False, seed=7)
        assert torch.equal(torch.random.get_rng_state(), expected)
        states.append(case.model.trainable_parameters())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "keys", "training", "é", "x" * 65])
def test_bad_names_are_refused(name: str) -> None:
    case = tiny_patch.case()
    with pytest.raises(PatchError, match="cannot name a patch"):
        case.model.new_patch(None, name=name or " ", lora=LoraSpec())


@pytest.mark.parametrize(
    ("channel", "options", "error", "message"),
    [
        (None, {}, ConfigError, "a patch needs a fusion or a LoRA"),
        (
            None,
            {"fusion": {"hidden": 8}, "lora": LoraSpec()},
            ConfigError,
            "without a channel has no fusion",
        ),
        ("audio", {"encoder": None}, ConfigError, "no encoder, so the width"),
        ("audio", {"encoder": "nope"}, ChannelError, "no encoder 'audio/nope'"),
        ("audio", {"fusion": {"hiden": 8}}, ConfigError, "hiden"),
        ("audio", {"fusion": {"out_dim": 7}}, ConfigError, "out_dim=7, but it is 32"),
        ("audio", {"prompt": "no place"}, ConfigError, "must contain {question} once"),
        (
            None,
            {"lora": LoraSpec(targets=("nowhere",))},
            PatchError,
            "no module of the language model is called nowhere",
        ),
    ],
)
def test_bad_patches_are_refused_and_leave_nothing(
    channel: Any, options: Any, error: Any, message: str
) -> None:
    case = tiny_patch.case()
    with pytest.raises(error, match=message):
        case.model.new_patch(channel, **options)
    assert list(case.model.patches) == []
    assert torch.equal(case.run(), case.logits)
    tiny_patch.add(case.model)
    with pytest.raises(PatchError, match="already a patch 'audio'"):
        tiny_patch.add(case.model)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"x": 1.0}, "no patch 'x'"),
        ({"audio": float("nan")}, "finite"),
        ({"audio": "1"}, "finite"),
        ({"audio": True}, "finite"),
    ],
)
def test_bad_weights_are_refused(two: Case, weights: Any, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        two.model.set_patches(weights)
    assert weights_of(two) == {"audio": 1.0, "depth": 1.0}


def test_a_base_takes_one_patched_model(two: Case) -> None:
    with pytest.raises(BaseError, match="already patched"):
        PatchedModel(two.base)
    with pytest.raises(PatchError, match="name the patch"):
        two.model.save_patch("anywhere")
    with pytest.raises(PatchError, match="no patch 'nobody'"):
        two.model.delete_patch("nobody")


def test_no_patch_is_called_like_anothers_channel() -> None:
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, "views", name="frames-1")
    tiny_patch.add(model, "depth", name="frames")
    for channel, name in (("frames", "dense"), ("audio", "depth")):
        with pytest.raises(
            PatchError, match="cannot be told apart; give the new one a name that is not a channel"
        ):
            tiny_patch.add(model, channel, name=name)
    tiny_patch.add(model, "depth", name="views-2")
    tiny_patch.add(model, None, name="views")  # it has no tokens to mix up
    assert list(model.patches) == ["frames-1", "frames", "views-2", "views"]


def test_a_patch_that_comes_while_all_are_off_is_on_afterwards(two: Case) -> None:
    two.model.set_patches({"audio": 0.5})
    with two.model.disable_patches():
        tiny_patch.add(two.model, "views")
        two.model.delete_patch("depth")
    assert weights_of(two) == {"audio": 0.5, "views": 1.0}
