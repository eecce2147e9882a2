"""Norms and gated maps in few steps: the same numbers, nearly the same gradients, less kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5RMSNormGated

from pave.cpu import lean_layers


def _gated(kind: str = "silu") -> nn.Module:
    sizes = {"hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 2}
    config = LlamaConfig(**sizes, hidden_act=kind)
    return LlamaMLP(config).requires_grad_(False)


def _normed(kind: type[nn.Module]) -> nn.Module:
    norm = kind(12).requires_grad_(False)
    nn.init.normal_(norm.weight)
    return norm


def _pass(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """What comes out, the gradient of the input, and how many numbers were kept in between."""
    x = x.clone().requires_grad_()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        out = layer(x)
    (grad,) = torch.autograd.grad(out, x, torch.cos(out.detach()))
    return out.detach(), grad, sum(kept.values())


@pytest.mark.parametrize("layer", [_normed(LlamaRMSNorm), _normed(Qwen3RMSNorm), _gated()])
@pytest.mark.parametrize("shape", [(7, 12), (2, 5, 12)])
def test_numbers_are_those_of_the_module_itself(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    plain, plain_grad, plain_kept = _pass(layer, x)
    with lean_layers(layer):
        assert "forward" in vars(layer)
        out, grad, kept = _pass(layer, x)
        with torch.no_grad():
            assert torch.equal(layer(x), plain)
    assert torch.equal(out, plain)
    torch.testing.assert_close(grad, plain_grad, rtol=1e-5, atol=1e-6)
    assert kept <= plain_kept
    assert "forward" not in vars(layer)
    assert torch.equal(_pass(layer, x)[1], plain_grad)


def test_a_gated_map_keeps_two_vectors() -> None:
    layer, x = _gated(), torch.randn(4, 12)
    weights = sum(parameter.numel() for parameter in layer.parameters())
    with lean_layers(layer):
        _, _, kept = _pass(layer, x)
    assert kept - weights == 2 * 4 * 20


@pytest.mark.parametrize("training", [True, False])
def test_what_is_no_such_module_stays_as_it_is(training: bool) -> None:
    layers = [_gated("gelu"), _normed(Gemma2RMSNorm), nn.LayerNorm(12), nn.Linear(12, 12)]
    layers.append(_normed(Qwen3_5RMSNormGated))  # it takes a gate beside its input
    if training:  # a weight that trains needs its own gradient
        layers += [LlamaRMSNorm(12), _gated().requires_grad_()]
    with lean_layers(nn.ModuleList(layers)):
        assert not any("forward" in vars(layer) for layer in layers)


def test_gradients_in_bf16() -> None:
    layer = _gated().bfloat16()
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(1)).bfloat16()
    plain, plain_grad, _ = _pass(layer, x)
    with lean_layers(layer):
        out, grad, _ = _pass(layer, x)
    assert torch.equal(out, plain) and torch.equal(grad, plain_grad)
