"""LoRA layers with merged copies of their weights: one product where peft makes three.

peft's forward costs some 50 microseconds of Python and small tensors a layer beside two thin
products. A merged copy of the weight spares them, as long as it is just what is at work. The base's
weight is never written to, so the base comes back to the bit and there is nothing to undo.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn

from pave import hf_compat
from pave.cpu.linear import fast_linear


class Copy(NamedTuple):
    """A layer's weight with the LoRAs of `state` in it."""

    weight: Tensor  # [out, in]
    state: tuple[object, ...]
    held: list[Tensor]  # what it is the sum of, held so that no other tensor gets their addresses


@torch.no_grad()
def merge(layer: Any) -> None:
    """Give a peft LoRA layer on a plain linear map a copy for the LoRAs at work.

    None is made, and an older one is dropped, where they are no plain LoRAs. The copy serves calls
    without gradients for which it is still the sum; all others go peft's way.
    """
    unmerge(layer)
    if type(layer) is not Linear or type(layer.get_base_layer()) is not nn.Linear:
        return
    names = _at_work(layer)
    state = _state(layer, names)
    if not names or state is None:
        return
    weight = layer.get_base_layer().weight
    total = weight.float()
    for name in names:
        total = total + layer.get_delta_weight(name).float()
    held = [tensor.detach() for tensor in _sources(layer, names)]
    layer.merged_copy = Copy(total.to(weight.dtype), state, held)
    layer.forward = MethodType(_forward, layer)


def unmerge(layer: Any) -> None:
    """Drop a layer's copy; without one nothing happens."""
    for name in ("merged_copy", "forward"):
        if isinstance(layer, Linear) and name in vars(layer):
            delattr(layer, name)


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """`[..., in]` -> `[..., out]`."""
    if args or kwargs or torch.is_grad_enabled():
        return type(layer).forward(layer, x, *args, **kwargs)
    if layer.merged_copy.state != _state(layer, _at_work(layer)):
        return type(layer).forward(layer, x)
    multiply = fast_linear if hf_compat.mkl_leaves_avx512_alone() else F.linear
    return multiply(x, layer.merged_copy.weight, layer.get_base_layer().bias)


def _at_work(layer: Any) -> list[str]:
    return [name for name in layer.active_adapters if name in layer.lora_A]


def _state(layer: Any, names: list[str]) -> tuple[object, ...] | None:
    """All that a copy depends on; None where the update is more than one fixed matrix.

    The counters of in-place changes tell a copy that is older than an optimiser's step or a loaded
    checkpoint, the addresses one whose weights were exchanged through `.data`. Weights made in
    inference mode count nothing: no copies.
    """
    if layer.merged_adapters or layer.disable_adapters:
        return None
    for name in names:
        dropout, last = layer.lora_dropout[name], layer.lora_B[name]
        drops = dropout.training and not isinstance(dropout, nn.Identity)
        masked = hf_compat.has_forward_hooks(layer.lora_A[name])  # rows that are switched off
        if drops or masked or last.bias is not None or name in layer.lora_variant:
            return None
    sources = _sources(layer, names)
    if any(weight.is_inference() for weight in sources):
        return None
    marks = [
        (hf_compat.change_counter(weight), weight.data_ptr(), weight.dtype) for weight in sources
    ]
    return names, [layer.scaling[name] for name in names], marks


def _sources(layer: Any, names: list[str]) -> list[Tensor]:
    """The weights at work: the base's, then each LoRA's two."""
    found = [layer.get_base_layer().weight]
    for name in names:
        found += [layer.lora_A[name].weight, layer.lora_B[name].weight]
    return found
