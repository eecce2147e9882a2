"""peft's options of a LoRA: those that are taken keep every promise, the others say why not."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file

from helpers import tiny, tiny_patch, toy
from pave.errors import ConfigError, PatchError
from pave.model import PatchedModel
from pave.model.combine import combine_patches
from pave.patches import LoraSpec, read_config
from pave.patches.lora_options import PEFT_NAMES, REFUSED, STARTS
from pave.train import load_config, train
from pave.train.costs import lora_parameters

KINDS = {
    "rslora": {"use_rslora": True, "rank": 4, "alpha": 3},
    "dora": {"use_dora": True, "rank": 2, "alpha": 3},
    "patterns": {
        "rank": 2,
        "alpha": 3,
        "rank_pattern": {"q_proj": 3, r"layers\.0\.mlp\.up_proj": 1},
        "alpha_pattern": {"v_proj": 7},
    },
    "gaussian": {"init_lora_weights": "gaussian", "rank": 2, "alpha": 3},
    "all": {"use_rslora": True, "use_dora": True, "rank_pattern": {"k_proj": 5}, "rank": 2},
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def _logits(model, base, **options):
    with torch.no_grad():
        return model(**tiny.inputs(base), **options).logits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_starts_as_the_base_and_can_be_turned_down_to_it(kind, dtype):
    base = tiny.base()
    base.model.to(DTYPES[dtype])
    plain = _logits(base.model, base)
    model = PatchedModel(base)
    tiny_patch.add(model, None, name="p", awake=False, lora=LoraSpec(**KINDS[kind]))
    assert torch.equal(_logits(model, base), plain)  # fresh
    tiny_patch.wake(model, "p")
    awake = _logits(model, base)
    assert not torch.equal(awake, plain)
    with model.disable_patches():
        assert torch.equal(_logits(model, base), plain)
    model.set_patches({"p": 0.0})
    assert torch.equal(_logits(model, base), plain)
    model.set_patches({"p": 0.5})
    assert not torch.equal(_logits(model, base), awake)
    model.set_patches({"p": 1.0})
    assert torch.equal(_logits(model, base), awake)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_the_channel_are_the_base(kind):
    base = tiny.base()
    side = [{"audio": tiny_patch.tokens()}, {}]
    plain = _logits(base.model, base)
    model = PatchedModel(base)
    tiny_patch.add(model, "audio", name="p", lora=LoraSpec(**KINDS[kind]))
    both = _logits(model, base, channels=side)
    assert torch.equal(both[1], plain[1]) and not torch.equal(both[0], plain[0])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_it_is_plain_peft_and_comes_back(kind, tmp_path):
    model = PatchedModel(tiny.base())
    spec = LoraSpec(**KINDS[kind])
    tiny_patch.add(model, None, name="p", lora=spec)
    folder = model.save_patch(tmp_path / "p")
    assert read_config(folder).lora == spec
    again = PatchedModel(tiny.base())
    again.load_patch(folder)
    base = tiny.base()
    expected = _logits(model, base)
    assert torch.equal(_logits(again, base), expected)
    theirs = PeftModel.from_pretrained(tiny.base().model, folder, subfolder="lora")
    assert torch.equal(_logits(theirs, base), expected)
    # Of peft's own merge, which computes in another order.
    merged = theirs.merge_and_unload()
    wanted = merged.state_dict()
    plain = export_weights(again)
    assert plain.keys() == wanted.keys()
    for key in plain:
        torch.testing.assert_close(plain[key], wanted[key], rtol=1e-5, atol=1e-6)


def export_weights(model):
    from pave.model.export import _merged_weights

    return _merged_weights(model, next(iter(model.patches)))


def test_an_old_pave_reads_what_uses_no_new_option():
    assert set(LoraSpec().model_dump()) == {"rank", "alpha", "dropout", "targets"}
    assert LoraSpec.model_validate(LoraSpec(use_dora=True).model_dump()).use_dora


def test_every_option_of_peft_is_taken_or_refused_with_a_reason():
    import dataclasses

    own = set(LoraSpec.model_fields) | set(PEFT_NAMES) | set(REFUSED)
    public = {field.name for field in dataclasses.fields(LoraConfig)}
    assert public <= own
    assert set(REFUSED) <= public
    plain = LoraConfig()
    for name in set(REFUSED) - {"peft_version"}:  # peft's own defaults ask for nothing
        default = getattr(plain, name)
        if isinstance(default, (str, int, dict, type(None))):
            assert LoraSpec.model_validate({name: default}) == LoraSpec()


@pytest.mark.parametrize("start", [False, *STARTS])
def test_starts_that_are_not_the_base_are_refused(start):
    with pytest.raises(ConfigError, match=r"init_lora_weights.* is not supported"):
        load_config(None, {"records": "r", "out": "o", "lora": {"init_lora_weights": start}})


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        (
            {"use_dorra": True},
            r"lora.use_dorra: there is no such field \(did you mean 'use_dora'\?\)",
        ),
        ({"r": 8}, "peft's r is called rank here"),
        ({"bias": "all"}, "bias='all' is not supported: it would train the base's own biases"),
        ({"rank_pattern": {"(": 8}}, "not a valid regular expression"),
        # A patch from elsewhere could ask for years of matching.
        ({"rank_pattern": {r"(\w+\.?)+!": 8}}, "repeats a group"),
        ({"rank_pattern": {"(a{1000}){1000}": 8}}, "repeats a group"),
        ({"alpha_pattern": {".*.*.*.*!": 8}}, "repeats too much"),
        ({"alpha_pattern": {"x" * 201: 8}}, "too long"),
        ({"rank_pattern": {f"m{number}": 8 for number in range(1001)}}, "at most 1,000 patterns"),
    ],
)
def test_what_does_not_go_is_named(lora, words):
    with pytest.raises(ConfigError, match=words):
        load_config(None, {"records": "r", "out": "o", "lora": lora})


def test_a_pattern_that_fits_nothing_is_refused():
    model = PatchedModel(tiny.base())
    with pytest.raises(PatchError, match=r"'q_prj' matches no module .* q_proj"):
        model.new_patch(None, lora=LoraSpec(rank_pattern={"q_prj": 8}))


def test_what_does_not_add_up_is_not_joined(tmp_path):
    folders = []
    for number, kind in enumerate(("rslora", "dora")):
        model = PatchedModel(tiny.base())
        tiny_patch.add(model, None, lora=LoraSpec(**KINDS[kind]))
        folders.append(model.save_patch(tmp_path / str(number)))
    with pytest.raises(PatchError, match="cannot be combined"):
        combine_patches(folders, tmp_path / "out", tiny.base())


def test_a_folder_without_its_option_is_refused(tmp_path):
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, None, lora=LoraSpec(use_dora=True))
    folder = model.save_patch(tmp_path / "p")
    file = folder / "lora" / "adapter_config.json"
    said = json.loads(file.read_text())
    del said["use_dora"]
    file.write_text(json.dumps(said))
    with pytest.raises(PatchError):
        PatchedModel(tiny.base()).load_patch(folder)


def test_dora_does_not_train_in_bf16(tmp_path):
    toy.records(tmp_path, clips=1, questions=1)
    config = toy.config(tmp_path, channel=None, lora={"use_dora": True}, precision="bf16")
    with pytest.raises(ConfigError, match="precision=fp32"):
        train(config, base=tiny.base(), progress=False)


def test_dora_trains_and_its_patch_is_what_was_trained(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    spec = {"use_dora": True, "rank": 2, "dropout": 0.1}
    config = toy.config(tmp_path, steps=3, channel=None, lora=spec, save_every=2)
    result = train(config, base=tiny.base(), progress=False)
    tensors = load_file(result.patch / "lora" / "adapter_model.safetensors")
    lengths = [tensor for key, tensor in tensors.items() if key.endswith("magnitude_vector")]
    assert lengths and result.trainable_parameters == sum(map(torch.numel, tensors.values()))
    assert lora_parameters(tiny.base().model, config.lora, tiny.base().family) == (
        result.trainable_parameters
    )
    model = PatchedModel(tiny.base())
    model.load_patch(result.patch)


def test_merging_in_place_says_why_dora_cannot():
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, None, lora=LoraSpec(use_dora=True))
    with pytest.raises(PatchError, match="DoRA scales the base's weights"):
        model.merge()
