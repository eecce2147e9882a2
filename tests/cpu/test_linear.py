"""The linear map that takes another library: same numbers, same gradients, nothing kept twice."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from pave.cpu.linear import fast_linear, through_onednn


def linear(*args: int, **kwargs: bool) -> nn.Linear:
    """A linear map that multiplies in oneDNN."""
    layer = nn.Linear(*args, **kwargs)
    through_onednn(layer)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_are_those_of_torch(bias: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    ours = linear(48, 32, bias=bias)
    x, gradient = torch.randn(70, 48, requires_grad=not frozen), torch.randn(70, 32)
    wanted = [*ours.parameters(), *([] if frozen else [x])]
    out, reference = ours(x), F.linear(x, ours.weight, ours.bias)
    torch.testing.assert_close(out, reference)
    got, expected = (torch.autograd.grad(y, wanted, gradient) for y in (out, reference))
    torch.testing.assert_close(got, expected)


def test_a_frozen_weight_lets_gradients_through() -> None:
    x = torch.randn(5, 8, requires_grad=True)
    fast_linear(x, torch.randn(3, 8), None).sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape


@pytest.mark.parametrize("frozen", [True, False])
def test_only_what_the_gradients_need_is_kept(frozen: bool) -> None:
    ours, x = linear(48, 32), torch.randn(70, 48, requires_grad=True)
    ours.weight.requires_grad_(not frozen)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        ours(x)
    needed = {ours.weight.data_ptr()}
    if not frozen:  # a weight's gradient is made of the rows
        needed.add(x.data_ptr())
    assert {tensor.data_ptr() for tensor in kept} == needed


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
def test_the_operator_and_the_public_way_agree_to_the_bit(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = linear(24, 40, bias=bias)
    for x in (
        torch.randn(7, 24),
        torch.randn(24, 7).T,
        torch.randn(7, 48)[:, ::2],
        torch.randn(2, 3, 24),
        torch.randn(0, 24),
    ):
        direct = layer(x)
        with monkeypatch.context() as patch:
            patch.delattr(torch.ops.mkldnn, "_linear_pointwise")
            assert torch.equal(layer(x), direct)
        torch.testing.assert_close(direct, torch.nn.functional.linear(x, layer.weight, layer.bias))


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 24), (1, 24), (24,), (0, 24)])
def test_bfloat16_is_rounded_once(bias: bool, shape: tuple[int, ...]) -> None:
    layer = linear(24, 40, bias=bias).bfloat16()
    x = torch.randn(*shape, dtype=torch.bfloat16)
    out = layer(x)
    assert out.dtype == torch.bfloat16
    exact = F.linear(
        x.float(), layer.weight.float(), None if layer.bias is None else layer.bias.float()
    )
    torch.testing.assert_close(out.float(), exact, rtol=2**-8, atol=1e-5)


def test_bfloat16_trains_as_in_torch() -> None:
    layer, x = linear(24, 40).bfloat16(), torch.randn(7, 24, dtype=torch.bfloat16)
    ours, theirs = (
        torch.autograd.grad(out.sum(), list(layer.parameters()))
        for out in (layer(x), F.linear(x, layer.weight, layer.bias))
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
