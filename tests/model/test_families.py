"""On every family: who gets gradients, save -> load to the bit, and what un-patching gives back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from helpers import tiny, tiny_patch
from pave.model import PatchedModel


def structure(model: nn.Module) -> Any:
    """Everything about a model object that patching could leave behind."""
    modules = {name: (type(module), set(module.__dict__)) for name, module in model.named_modules()}
    return (
        modules,
        list(model.state_dict()),
        {name: p.requires_grad for name, p in model.named_parameters()},
    )


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_save_load_peft_and_unpatch(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.base(family)
    inputs, clips = tiny.inputs(base), tiny.clips(base)
    times, side = (
        [clip.times for clip in clips],
        [{"audio": tiny_patch.tokens(4)}, {"audio": tiny_patch.tokens(3, seed=5)}],
    )
    with torch.no_grad():
        plain = base.model(**inputs).logits
    before = structure(base.model)
    model = PatchedModel(base)
    tiny_patch.add(model)
    with torch.no_grad():
        patched = model(side, times, **inputs).logits
        monkeypatch.setattr(model.seam, "fuse", lambda visuals, *call: visuals)  # the LoRA alone
        lora_alone = model(side, times, **inputs).logits
    assert not torch.equal(patched, plain)
    model.save_patch(tmp_path / "patch")

    restored = model.unpatch()
    assert restored is base.model
    assert structure(base.model) == before
    with torch.no_grad():
        assert torch.equal(base.model(**inputs).logits, plain)

    again = PatchedModel(base)
    again.load_patch(tmp_path / "patch", "other")
    with torch.no_grad():
        assert torch.equal(again(side, times, **inputs).logits, patched)
    again.unpatch()

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft only warns of missing keys
        peft = PeftModel.from_pretrained(base.model, str(tmp_path / "patch" / "lora"))
    with torch.no_grad():
        assert torch.equal(peft(**inputs).logits, lora_alone)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_fusion_and_lora_alone(family: str, checkpointing: bool) -> None:
    case = tiny_patch.case(family)
    tiny_patch.add(case.model)
    model = case.model.train()
    if checkpointing:
        model.activation_checkpointing_enable()
        # What trainers do; it hooks the tower's patch embedding too.
        model.model.enable_input_require_grads()
    seen: list[bool] = []
    language = case.base.family.language_model
    towers = [
        child
        for name, child in model.model.model.named_children()
        if name != language and list(child.parameters())
    ]
    for tower in towers:
        assert not any(module.training for module in tower.modules())
        tower.register_forward_hook(lambda module, args, output: seen.append(_tracked(output)))
    loss = model(case.side, case.times, **case.inputs, labels=case.inputs["input_ids"]).loss
    loss.backward()
    touched = {id(p) for p in model.parameters() if p.grad is not None}
    trainable = model.trainable_parameters()
    assert touched <= {id(p) for p in trainable.values()}
    unreached = [key for key, p in trainable.items() if p.grad is None]
    assert not unreached
    assert not any(seen)
    assert {id(p) for p in model.parameters() if p.requires_grad} == {
        id(p) for p in trainable.values()
    }


def _tracked(output: Any) -> bool:
    """Whether any tensor of a module's output carries a graph."""
    if isinstance(output, torch.Tensor):
        return output.requires_grad
    parts = output.values() if hasattr(output, "values") else output
    return (
        any(_tracked(part) for part in parts if part is not None)
        if isinstance(output, (tuple, list, dict))
        else False
    )


def test_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        case = tiny_patch.case()
        tiny_patch.add(case.model)
        model = case.model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.activation_checkpointing_enable()
        model(
            [case.side[0], {}], case.times, **case.inputs, labels=case.inputs["input_ids"]
        ).loss.backward()
        gradients.append({key: p.grad for key, p in model.trainable_parameters().items()})
    assert all(torch.equal(gradients[0][key], gradients[1][key]) for key in gradients[0])
