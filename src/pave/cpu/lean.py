"""Norms and gated maps of a frozen language model with a backward pass of few steps.

Autograd goes back through each operation by itself: through a norm in a dozen passes over its
vectors, and of a gated map it keeps a vector of the MLP's width more than needed. Here each is one
step with a gradient of its own. What comes out is the same to the bit; gradients are rounded in
another order.

A module is known by its parts, not by its class, since every family of transformers has its own.
Whether it computes what is expected is tried on a few random rows before anything is replaced.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pave import hf_compat
from pave.seeds import seeded

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
ROWS = 3
"""Random rows on which a module is tried."""


@contextlib.contextmanager
def lean_layers(module: nn.Module) -> Iterator[None]:
    """Let the frozen norms and gated MLPs of a module on a CPU train in few steps.

    Args:
        module: Usually the base's language model, LoRA layers and all.
    """
    found: list[nn.Module] = []
    try:
        for layer in module.modules():
            forward = _shorter(layer)
            if forward is None:
                continue
            layer.forward = MethodType(forward, layer)
            found.append(layer)
        yield
    finally:
        for layer in found:
            del layer.forward  # the class's own shows again


def _shorter(layer: nn.Module) -> Callable[..., Tensor] | None:
    """What computes the same as a module's own forward, if it is of a known kind."""
    if "forward" in vars(layer):  # somebody else's, such as accelerate's
        return None
    if _inputs(layer) != 1:
        return None
    if _is_norm(layer):
        return _norm
    if _is_gated(layer):
        return _gated
    return None


def _inputs(layer: nn.Module) -> int:
    """How many values a module cannot do without: norms of linear attention take a gate, too."""
    takes = inspect.signature(type(layer).forward).parameters.values()
    needed = [one for one in takes if one.default is one.empty and one.kind in _BY_PLACE]
    return len(needed) - 1  # self


def _norm(layer: Any, x: Tensor) -> Tensor:
    """`[..., C]` -> `[..., C]`, in fp32."""
    if x.dtype == torch.float32 and torch.is_grad_enabled():
        return _normed(layer, x)
    plain: Tensor = type(layer).forward(layer, x)
    return plain


def _normed(layer: Any, x: Tensor) -> Tensor:
    """The same in one step."""
    apply: Any = _Norm.apply
    found: Tensor = apply(
        x,
        layer.weight,
        layer.variance_epsilon,
    )
    return found


def _gated(layer: Any, x: Tensor) -> Tensor:
    """`[..., C]` -> `[..., C]`."""
    apply: Any = _Gate.apply
    gate = layer.gate_proj(x)  # [..., M]
    up = layer.up_proj(x)
    inner = apply(gate, up)
    found: Tensor = layer.down_proj(inner)
    return found


class _Norm(torch.autograd.Function):
    """A root mean square norm with a frozen weight; it keeps its input and a number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        square = x.pow(2).mean(-1, keepdim=True)
        scale = torch.rsqrt(square + eps)  # [..., 1]
        ctx.save_for_backward(x, scale, weight)
        scaled = x * scale
        # In place: nobody keeps it.
        return scaled.mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, weight = ctx.saved_tensors
        grad = grad * weight
        # How much of it points along x, which the norm takes away.
        along = grad * x
        along = along.sum(-1, keepdim=True)
        along *= scale.pow(3)
        along /= -x.shape[-1]
        grad.mul_(scale)
        grad.addcmul_(x, along)
        return grad, None, None


class _Gate(torch.autograd.Function):
    """`silu(gate) * up`, of which the first is computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        inner = F.silu(gate)
        return inner.mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        # In the order of autograd's own, so that bf16 rounds alike.
        of_gate = torch.ops.aten.silu_backward(grad * up, gate)
        of_up = F.silu(gate)
        of_up.mul_(grad)
        return of_gate, of_up


def _is_norm(layer: Any) -> bool:
    """Whether a module is a root mean square norm that `_Norm` computes."""
    if not hasattr(layer, "variance_epsilon"):
        return False
    weight: Any = getattr(layer, "weight", None)
    if not _is_plain_on_cpu(weight) or weight.dtype != torch.float32:
        return False
    if weight.dim() != 1:  # cut, or of several heads
        return False
    return _agree(_normed, layer, weight)


def _is_gated(layer: Any) -> bool:
    """Whether a module is an MLP of three maps, two of which meet in a gate of SiLU."""
    for name in ("gate_proj", "up_proj", "down_proj"):
        if not isinstance(getattr(layer, name, None), nn.Module):
            return False
    weight: Any = getattr(layer.gate_proj, "weight", None)  # of peft's layer, too
    if not _is_plain_on_cpu(weight):
        return False
    return _agree(_gated, layer, weight)


def _is_plain_on_cpu(weight: Any) -> bool:
    """Whether it is a frozen weight on the CPU that holds its own numbers."""
    if not isinstance(weight, Tensor) or weight.requires_grad:
        return False
    if weight.device.type != "cpu" or not weight.is_floating_point():
        return False
    return hf_compat.is_plain(weight)


def _agree(ours: Callable[..., Tensor], layer: Any, weight: Tensor) -> bool:
    """Whether a module of a weight `[..., C]` gives the same numbers in both ways."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, weight.shape[-1], generator=generator)
    x = x.to(weight.dtype)
    found = []
    for forward in (partial(ours, layer), layer):
        # A LoRA's dropout is the same in both, and the run's own numbers are not used up.
        with torch.no_grad(), seeded(0):
            found.append(forward(x))
    return torch.equal(*found)
