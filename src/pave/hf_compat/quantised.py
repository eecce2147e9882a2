"""Weights of bitsandbytes, torchao and quanto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds its own numbers; one of torchao or quanto wraps others.

    Those have torch's method `__tensor_flatten__`. Checked with torch 2.13.0 and torchao 0.18.
    """
    import torch

    inner = tensor.data  # a parameter's own class says nothing
    return type(inner) is torch.Tensor or not hasattr(inner, "__tensor_flatten__")


def keep_quantised_weights(model: nn.Module) -> None:
    """Let 4-bit layers of bitsandbytes on a CPU keep the weights that they were loaded with.

    On processors with AVX512-BF16 their first forward pass without gradients packs the weights
    anew, with scales rounded to bfloat16, for a kernel that is fetched from the Hub: another base
    than before, for good. They look at `Linear4bit.support_avx512bf16_for_cpu`. Checked with
    bitsandbytes 0.50.2.
    """
    for module in model.modules():
        layer: Any = module
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def reads_beyond_rows(layer: nn.Module) -> bool:
    """Whether a layer of quanto would be multiplied wrongly on a CPU, or end the process.

    Inputs in bf16 and weights in int8 go to `torch._weight_int8pack_mm`, which takes rows of a
    multiple of 32 numbers and checks nothing. quanto gives it all whose length 4 divides. Checked
    with optimum-quanto 0.2.7 and torch 2.13.0.
    """
    import torch

    weight: Any = getattr(layer, "weight", None)
    rows = getattr(weight, "_data", None)
    if not isinstance(rows, torch.Tensor) or rows.dtype != torch.int8 or rows.device.type != "cpu":
        return False
    odd = rows.shape[-1] % 4 == 0 and rows.shape[-1] % 32 != 0
    return odd and weight.dtype == torch.bfloat16
