"""What a base may not be wrapped in or carry: it is refused, never passed by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    AdaptionPromptModel,
    LoHaConfig,
    LoraConfig,
    PrefixTuningConfig,
    get_peft_model,
)
from transformers import AutoModelForImageTextToText

from helpers import tiny, tiny_patch
from pave.bases import load_base
from pave.errors import BaseError, PatchError
from pave.model import PatchedModel

LORA = LoraConfig(r=2, target_modules=["q_proj"])


def refused(model: Any, message: str) -> None:
    """By `load_base`, and by `PatchedModel` where it came to a base that was loaded before."""
    base = tiny.base()
    with pytest.raises(BaseError, match=message):
        load_base(model, base.tokenizer)
    base.model = model
    with pytest.raises(BaseError, match=message):
        PatchedModel(base)
    assert "get_video_features" not in vars(base.inner)


@pytest.mark.parametrize(
    "config",
    [
        LORA,
        LoraConfig(r=2, target_modules=["fc1"]),  # the tower's
        LoraConfig(r=2, target_modules=["q_proj"], use_dora=True),
        LoraConfig(r=2, target_modules=["v_proj"], modules_to_save=["lm_head"]),
        LoHaConfig(r=2, target_modules=["q_proj"]),
        PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM", num_layers=2,
                           token_dim=32, num_attention_heads=4, num_transformer_submodules=1),
    ],
    ids=["lora", "tower", "dora", "modules_to_save", "loha", "prefix"],
)  # fmt: skip
def test_an_adapter_has_to_be_merged_first(config: Any) -> None:
    """As peft's wrapper, and as the plain model into which peft has put layers."""
    wrapper = get_peft_model(tiny.base().model, config)
    refused(wrapper, "adapter .default|adapter .peft")
    if not isinstance(config, PrefixTuningConfig):  # that one leaves the model alone
        refused(wrapper.get_base_model(), r"adapter \(default\).*merge_and_unload")


def test_a_merged_adapter_is_the_base() -> None:
    base = tiny.base()
    wrapper = get_peft_model(base.model, LORA)
    with torch.no_grad():
        for name, parameter in wrapper.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
        inputs = tiny.inputs(base)
        tuned = wrapper(**inputs).logits
        merged = load_base(wrapper.merge_and_unload(), base.tokenizer)
        model = PatchedModel(merged)
        tiny_patch.add(model, awake=False)
        found = model(None, None, **inputs).logits
    assert torch.allclose(found, tuned, atol=1e-4)


def test_transformers_own_way_of_adding_one_counts() -> None:
    model = tiny.base().model
    model.add_adapter(LORA, "mine")
    refused(model, r"adapter \(mine\)")


@pytest.mark.parametrize("tower", [True, False])
def test_an_adapter_beside_the_weights_is_not_passed_by(tmp_path: Path, tower: bool) -> None:
    base = tiny.base()
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    get_peft_model(tiny.base().model, LORA).save_pretrained(tmp_path)
    with pytest.raises(BaseError, match=r"adapter"):
        load_base(tmp_path, tower=tower)
    (tmp_path / "config.json").unlink()
    with pytest.raises(BaseError, match=r"is a PEFT adapter, not a base"):
        load_base(tmp_path)


def test_compiled_models_are_refused_wherever_they_are() -> None:
    refused(torch.compile(tiny.base().model, backend="eager"), "compiled")
    model = tiny.base().model
    model.model.language_model = torch.compile(model.model.language_model, backend="eager")
    refused(model, r"model\.language_model is compiled")


class Around(torch.nn.Module):
    """Somebody's own object around a model; it looks like one to whoever asks for a config."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config


@pytest.mark.parametrize("around", [Around, lambda model: PatchedModel(load(model))])
def test_objects_around_a_model_are_refused(around: Any) -> None:
    """The seam would lie one level too high, where no call passes it."""
    with pytest.raises(BaseError, match="pass the ...ForConditionalGeneration itself"):
        load(around(tiny.base().model))


def load(model: Any) -> Any:
    return load_base(model, tiny.tokenizer())


@pytest.mark.parametrize("given", [None, "smol", 3, torch.nn.Linear(2, 2)])
def test_a_patched_model_needs_a_base(given: Any) -> None:
    with pytest.raises(BaseError, match="what pave.load_base gives"):
        PatchedModel(given)


def test_attention_with_an_adaption_prompt_is_an_adapter() -> None:
    base = tiny.base("llava_next_video")
    config = AdaptionPromptConfig(adapter_len=2, adapter_layers=1, task_type="CAUSAL_LM")
    config.target_modules = "self_attn"
    AdaptionPromptModel(base.inner.language_model, {"default": config}, "default")
    with pytest.raises(BaseError, match=r"adapter \(adaption_prompt\)"):
        load(base.model)


def test_wrappers_of_data_parallel_training_are_refused() -> None:
    refused(torch.nn.DataParallel(tiny.base().model), "DataParallel; pass its .module")


@pytest.mark.parametrize("where", ["model.language_model", "model.vision_tower"])
def test_offloaded_weights_are_refused(tmp_path: Path, where: str) -> None:
    """They are there during accelerate's own calls only; the answer was NaN, written as "!!!"."""
    base = tiny.base()
    base.model.save_pretrained(tmp_path)
    places = dict.fromkeys(["model.multi_modal_projector", "model.image_newline", "lm_head"], "cpu")
    places |= {"model.vision_tower": "cpu", "model.language_model": "cpu", where: "disk"}
    model = AutoModelForImageTextToText.from_pretrained(
        tmp_path, device_map=places, offload_folder=str(tmp_path / "off"), dtype=torch.float32
    )
    refused(model, "offloaded")
    # All of it in one place is a plain model.
    model = AutoModelForImageTextToText.from_pretrained(tmp_path, device_map={"": "cpu"})
    PatchedModel(load_base(model, base.tokenizer))


def test_an_adapter_that_comes_later_is_told_of() -> None:
    """Everybody's adapters lie in the same layers: nobody's is switched off in silence."""
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    case.base.model.add_adapter(LORA, "mine")
    with pytest.raises(PatchError, match="adapters were switched"):
        case.run()
    with pytest.raises(PatchError, match="'mine' was added to the base"):
        case.model.unpatch()
    case.base.model.delete_adapter("mine")
    case.model.set_patches({"audio": 1.0})
    case.run()
    case.model.unpatch()
    with torch.no_grad():
        assert torch.equal(case.base.model(**case.inputs).logits, case.logits)
