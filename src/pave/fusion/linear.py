"""`Linear`: a linear map whose float32 products go through oneDNN on CPUs.

PyTorch hands float32 products on x86 CPUs to MKL, which does not use the 512-bit units of AMD's processors: measured there, the
same product takes half the time in oneDNN, which PyTorch carries as well and uses for bfloat16 anyway. The way to it is
PyTorch's own: a linear map of a tensor in oneDNN's layout. Going there and back copies rows, a few per cent of the product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` of rows `[N, in]`, by the library that is fast at it."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and len(x) and torch.backends.mkldnn.is_available():
        return F.linear(x.to_mkldnn(), weight, bias).to_dense()
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear` with the same parameters, names and initial values; only the library that multiplies differs.

    Example:
        >>> Linear(4, 3)(torch.ones(2, 4)).shape
        torch.Size([2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in]` -> `[N, out]`."""
        return fast_linear(x, self.weight, self.bias)
