"""Frozen maps made fast, and afterwards all as before.

In bf16 they give the numbers of autocast on fp32 weights, in fp32 those of plain maps.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import tiny_patch
from pave import hf_compat
from pave.cpu import frozen_in_bf16, frozen_through_onednn


def _step(case, batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = case.model([*case.side], case.times, **batch).logits
    logits.float().square().mean().backward()
    gradients = {
        name: p.grad.clone()
        for name, p in case.model.trainable_parameters().items()
        if p.grad is not None
    }
    case.model.zero_grad()
    return logits.detach(), gradients


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl"])
def test_logits_and_gradients_are_those_of_autocast_to_the_bit(family):
    case = tiny_patch.case(family)
    tiny_patch.add(case.model)
    language = getattr(case.base.inner, case.base.family.language_model)
    before = {name: p.detach().clone() for name, p in case.base.model.named_parameters()}
    logits, gradients = _step(case, case.inputs)
    with frozen_in_bf16(language):
        halves = [name for name, p in language.named_parameters() if p.dtype == torch.bfloat16]
        assert halves and not any(
            "lora_" in name or "norm" in name or "embed" in name for name in halves
        )
        again, others = _step(case, case.inputs)
    assert torch.equal(again, logits)
    assert others.keys() == gradients.keys() and all(
        torch.equal(others[name], gradients[name]) for name in gradients
    )
    after = dict(case.base.model.named_parameters())
    assert all(
        torch.equal(after[name], value) and after[name].dtype == value.dtype
        for name, value in before.items()
    )


def test_weights_that_fit_are_not_held_twice_and_all_come_back_after_an_error():
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    layers[:2].requires_grad_(False)
    layers[0].weight.data = layers[0].weight.data.bfloat16().float()
    before = [p.detach().clone() for p in layers.parameters()]
    with pytest.raises(RuntimeError, match="stop"), frozen_in_bf16(layers):
        assert [layer.weight.dtype for layer in layers] == [
            torch.bfloat16,
            torch.bfloat16,
            torch.float32,
        ]
        raise RuntimeError("stop")
    assert all(
        torch.equal(a, b) and a.dtype == b.dtype
        for a, b in zip(layers.parameters(), before, strict=True)
    )


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl"])
def test_another_library_gives_the_same_logits_and_gradients(family, monkeypatch):
    monkeypatch.setattr(hf_compat, "mkl_leaves_avx512_alone", lambda: True)
    case = tiny_patch.case(family)
    tiny_patch.add(case.model)
    language = getattr(case.base.inner, case.base.family.language_model)

    def step():
        logits = case.model([*case.side], case.times, **case.inputs).logits
        logits.square().mean().backward()
        gradients = {
            name: p.grad.clone()
            for name, p in case.model.trainable_parameters().items()
            if p.grad is not None
        }
        case.model.zero_grad()
        return logits.detach(), gradients

    logits, gradients = step()
    with frozen_through_onednn(language):
        assert sum("forward" in vars(layer) for layer in language.modules()) > 10
        again, others = step()
    torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        scale = float(gradient.abs().max())
        assert (others[name] - gradient).abs().max() <= 1e-5 * scale + 1e-9, name
    assert not any("forward" in vars(layer) for layer in language.modules())
