"""Frozen weights in bf16 for the time of a bf16 training.

Autocast rounds the weights of every linear map to bf16 each time it is used; for weights that train it remembers the result
within a step, for frozen ones it does not. Where the base is kept in fp32, a step so spends a good part of its time on turning
the same numbers into the same numbers. Rounded once they give the very same products. Norms and embeddings stay as they are:
autocast leaves those in fp32, and so the residual stream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def frozen_in_bf16(module: nn.Module) -> Iterator[None]:
    """Hold the frozen fp32 linear weights of a module in bf16, and give back the very same fp32 numbers afterwards.

    Inside, the module must run under `torch.autocast(dtype=torch.bfloat16)`; results are those of autocast on fp32 weights, to
    the bit. Weights that bf16 cannot hold exactly are kept beside, so that they can be given back.

    Args:
        module: Usually the base's language model, LoRA layers and all.
    """
    found = [layer for layer in module.modules() if type(layer) is nn.Linear and _is_frozen(layer)]
    kept: list[tuple[nn.Parameter, Tensor | None]] = []
    try:
        for parameter in [p for layer in found for p in layer.parameters()]:
            whole = parameter.data
            parameter.data = whole.to(torch.bfloat16)
            kept.append((parameter, None if torch.equal(parameter.data.float(), whole) else whole))
        yield
    finally:
        for parameter, before in kept:
            parameter.data = parameter.data.float() if before is None else before


def _is_frozen(layer: nn.Linear) -> bool:
    return all(p.dtype == torch.float32 and not p.requires_grad for p in layer.parameters())
