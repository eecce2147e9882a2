"""Linear maps whose float32 products go through oneDNN, on processors where that pays.

PyTorch hands float32 products on x86 CPUs to MKL, which leaves the 512-bit units of AMD's
processors alone: the same product takes half the time there in oneDNN, which PyTorch carries as
well. On Intel's processors MKL uses them, on AVX2 alone copies into oneDNN's layout cost more than
they save: there nothing is changed. bfloat16 products are oneDNN's anyway.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pave import hf_compat


def speed_up(module: nn.Module) -> None:
    """Let the plain linear maps of a module multiply in oneDNN, if that pays on this processor.

    Parameters, names and gradients stay as they are, and so does what runs on another device.

    Example:
        >>> from torch import nn
        >>> speed_up(nn.Linear(4, 3))
    """
    if hf_compat.mkl_leaves_avx512_alone():
        for layer in module.modules():
            if type(layer) is nn.Linear:
                through_onednn(layer)


def through_onednn(layer: nn.Linear) -> None:
    """Let one linear map multiply in oneDNN, whatever the processor."""
    layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    """`[..., in]` -> `[..., out]`."""
    return fast_linear(x, layer.weight, layer.bias)


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` of `[..., in]` with the product by oneDNN.

    A single row stays with PyTorch, whose product of a vector and a matrix starts sooner, and so
    does all that is not float32 on a CPU or that autocast casts.
    """
    rows_on_cpu = x.device.type == "cpu" and x.numel() > x.shape[-1]
    whole = x.dtype == weight.dtype == torch.float32
    if not (rows_on_cpu and whole and torch.backends.mkldnn.is_available()):
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    product = _ThroughOneDNN.apply if torch.is_grad_enabled() else hf_compat.onednn_linear
    out: Tensor = product(rows, weight, bias)
    return out.view(*x.shape[:-1], len(weight))


class _ThroughOneDNN(torch.autograd.Function):
    """The product and its gradients by oneDNN, keeping the rows themselves for the backward pass.

    Left to autograd, input and output would each be kept twice, as rows and in oneDNN's layout.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return hf_compat.onednn_linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        found = hf_compat.onednn_linear_gradients(x, grad.contiguous(), weight, wanted)
        return tuple(g if want else None for g, want in zip(found, wanted, strict=True))
