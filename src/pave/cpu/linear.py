"""Linear maps whose float32 products go through oneDNN, on processors where that pays.

PyTorch hands float32 products on x86 CPUs to MKL, which leaves the 512-bit units of AMD's
processors alone: the same product takes half the time there in oneDNN, which PyTorch carries as
well. On Intel's processors MKL uses them, on AVX2 alone copies into oneDNN's layout cost more than
they save: there nothing is changed. bfloat16 products are
oneDNN's anyway.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pave import hf_compat


def through_onednn(layer: nn.Linear) -> None:
    """Let one linear map multiply in oneDNN, whatever the processor."""
    layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    """`[..., in]` -> `[..., out]`."""
    return fast_linear(x, layer.weight, layer.bias)


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` of `[..., in]`, with the product by oneDNN where it serves."""
    if not _serves(x, weight):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        out: Tensor = _ThroughOneDNN.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    else:
        out = hf_compat.onednn_linear(rows, weight, bias)
    return out.view(*x.shape[:-1], len(weight))


def _serves(x: Tensor, weight: Tensor) -> bool:
    """Whether a product can go through oneDNN and gains by it."""
    if x.device.type != "cpu" or x.dtype != weight.dtype:
        return False
    if x.numel() <= x.shape[-1]:  # a single row: PyTorch's product of vector and matrix is sooner
        return False
    if torch.is_autocast_enabled("cpu") or not torch.backends.mkldnn.is_available():
        return False
    return x.dtype == torch.float32


class _ThroughOneDNN(torch.autograd.Function):
    """The product and its gradients by oneDNN, keeping only what the gradients are made of.

    Left to autograd, input and output would each be kept twice, as rows and in oneDNN's layout. A
    frozen weight needs no rows at all.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = None
        if ctx.needs_input_grad[1]:
            rows = x
        ctx.save_for_backward(rows, weight)
        return hf_compat.onednn_linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = None
        of_weight = None
        of_bias = None
        grad = grad.contiguous()  # [N, out]
        if ctx.needs_input_grad[0]:
            of_x = hf_compat.onednn_linear(grad, weight.T, None)
        if ctx.needs_input_grad[1]:
            # Rows with gaps between them would be multiplied by oneDNN's slow reference.
            of_weight = hf_compat.onednn_linear(grad.T, x.contiguous().T, None)
        if ctx.needs_input_grad[2]:
            of_bias = grad.sum(0)
        return of_x, of_weight, of_bias
