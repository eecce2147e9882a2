"""The frozen linear maps of a language model, made fast for the time of a training.

**bf16.** Autocast rounds the weights of every linear map to bf16 each time it is used; for weights
that train it remembers the result within a step, for frozen ones it does not. Where the base is
kept in fp32, a step so spends a good part of its time on turning the same numbers into the same
numbers. Rounded once they give the very same products. Norms and embeddings stay as they are:
autocast leaves those in fp32, and so the residual stream.

**fp32 on a CPU.** The products go to the library that is fast at them, see `pave.cpu.linear`; sums
are rounded in another order, nothing else changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pave import hf_compat
from pave.cpu.linear import through_onednn


@contextlib.contextmanager
def frozen_in_bf16(module: nn.Module) -> Iterator[None]:
    """Hold the frozen fp32 linear weights of a module in bf16, and give the same numbers back.

    Inside, the module must run under `torch.autocast(dtype=torch.bfloat16)`; results are those of
    autocast on fp32 weights, to the bit. Weights that bf16 cannot hold exactly are kept beside, so
    that they can be given back.

    Args:
        module: Usually the base's language model, LoRA layers and all.
    """
    found = _frozen_layers(module)
    kept: list[tuple[nn.Parameter, Tensor | None]] = []
    try:
        for layer in found:
            kept.extend((parameter, _round(parameter)) for parameter in layer.parameters())
        yield
    finally:
        for parameter, before in kept:
            if before is None:
                parameter.data = parameter.data.float()  # exact: nothing was rounded off
            else:
                parameter.data = before


@contextlib.contextmanager
def frozen_through_onednn(module: nn.Module) -> Iterator[None]:
    """Let a module's frozen fp32 linear maps on a CPU multiply in oneDNN, where that pays."""
    found: list[nn.Linear] = []
    if hf_compat.mkl_leaves_avx512_alone():
        found = _frozen_layers(module)
    try:
        for layer in found:
            through_onednn(layer)
        yield
    finally:
        for layer in found:
            del layer.forward  # the class's own shows again


def _round(parameter: nn.Parameter) -> Tensor | None:
    """Put a parameter in bf16; its fp32 values where bf16 does not hold them exactly."""
    whole = parameter.data
    parameter.data = whole.to(torch.bfloat16)
    if torch.equal(parameter.data.float(), whole):
        return None
    return whole


def _frozen_layers(module: nn.Module) -> list[nn.Linear]:
    # Subclasses, such as quantised maps, hold their weights in other ways.
    return [layer for layer in module.modules() if type(layer) is nn.Linear and _is_frozen(layer)]


def _is_frozen(layer: nn.Linear) -> bool:
    for parameter in layer.parameters():
        # torchao keeps the class of a layer and puts a tensor of its own in.
        if parameter.requires_grad or not hf_compat.is_plain(parameter):
            return False
        if parameter.dtype != torch.float32:
            return False
    return True
