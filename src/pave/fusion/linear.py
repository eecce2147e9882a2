"""`Linear`: a linear map whose products go straight through oneDNN on CPUs.

PyTorch hands float32 products on x86 CPUs to MKL, which does not use the 512-bit units of AMD's
processors: measured there, the same product takes half the time in oneDNN, which PyTorch carries as
well and uses for bfloat16 anyway. The way to it is PyTorch's own: a linear map of a tensor in
oneDNN's layout. Going there and back copies rows, a few per cent of the product; the forward
product avoids that where PyTorch has the operator for it.

In bfloat16 the library is the right one already, but PyTorch first writes the bias to every row of
the result and then adds the product to it. The same operator adds it within the product: a tenth
less time for the widest map at 7B sizes. With gradients PyTorch's own way stays, where that tenth
drowns.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# What torch.compile emits for a linear map on a CPU: oneDNN's product without copies, the same to
# the bit. It is not public, so the public way stands beside it.
_direct = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available()
    else None
)
_direct_bf16 = _direct is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if _direct is None:
        return F.linear(x.to_mkldnn(), weight, bias).to_dense()
    out: Tensor = _direct(x, weight, bias, "none", [], "")
    return out


class _ThroughOneDNN(torch.autograd.Function):
    """The product and its gradients by oneDNN, keeping the rows themselves for the backward pass.

    Left to autograd, input and output would each be kept twice, as rows and in oneDNN's layout: at
    7B sizes 400 MB a clip.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        inner, outer, bias = torch.ops.aten.mkldnn_linear_backward(
            x.to_mkldnn(), grad.contiguous().to_mkldnn(), weight, wanted
        )
        found = (inner.to_dense() if wanted[0] else None, outer, bias)
        return tuple(
            gradient if want else None for gradient, want in zip(found, wanted, strict=True)
        )


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` of `[..., in]`, by the library that is fast at it.

    A single row stays with PyTorch, whose product of a vector and a matrix starts sooner, and so
    does all that autocast casts.
    """
    rows_on_cpu = x.device.type == "cpu" and x.numel() > x.shape[-1]
    if not rows_on_cpu or x.dtype != weight.dtype or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    if x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        out: Tensor = (_ThroughOneDNN.apply if torch.is_grad_enabled() else _product)(
            rows, weight, bias
        )
    elif x.dtype == torch.bfloat16 and _direct_bf16 and not torch.is_grad_enabled():
        out = _product(rows, weight, bias)
    else:
        out = F.linear(rows, weight, bias)
    return out.view(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """`torch.nn.Linear` with the same parameters, names and initial values; only the library that multiplies differs.

    Example:
        >>> Linear(4, 3)(torch.ones(2, 4)).shape
        torch.Size([2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` -> `[..., out]`."""
        return fast_linear(x, self.weight, self.bias)
