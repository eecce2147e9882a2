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
    if type(layer) is not Linear:
        return
    if type(layer.get_base_layer()) is not nn.Linear:  # a quantised one
        return
    names = _at_work(layer)
    state = _state(layer, names)
    if not names or state is None:
        return
    weight = layer.get_base_layer().weight
    total = weight.float()  # [out, in]; the sum is rounded once, at the end
    for name in names:
        total = total + layer.get_delta_weight(name).float()
    held = [tensor.detach() for tensor in _sources(layer, names)]
    layer.merged_copy = Copy(
        weight=total.to(weight.dtype),
        state=state,
        held=held,
    )
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
    weight = layer.merged_copy.weight
    bias = layer.get_base_layer().bias
    if hf_compat.mkl_leaves_avx512_alone():
        return fast_linear(x, weight, bias)
    return F.linear(x, weight, bias)


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
    # What somebody hooked into the base's layer would be left out.
    if not hf_compat.is_called_as_is(layer.get_base_layer()):
        return None
    for name in names:
        if not _is_one_matrix(layer, name):
            return None
    sources = _sources(layer, names)
    marks = []
    for weight in sources:
        if weight.is_inference():
            return None
        marks.append((weight.data_ptr(), weight.dtype))
    scales = [layer.scaling[name] for name in names]
    return names, scales, marks, hf_compat.change_counters(sources)


def _is_one_matrix(layer: Any, name: str) -> bool:
    """Whether a LoRA adds the same matrix for every row: scale B A, and nothing else."""
    dropout = layer.lora_dropout[name]
    if dropout.training and not isinstance(dropout, nn.Identity):
        return False
    if name in layer.lora_variant:  # DoRA and its like
        return False
    if hf_compat.has_forward_hooks(layer.lora_A[name]):  # rows that are switched off
        return False
    return layer.lora_B[name].bias is None


def _sources(layer: Any, names: list[str]) -> list[Tensor]:
    """The weights at work: the base's, then each LoRA's two."""
    found = [layer.get_base_layer().weight]
    for name in names:
        found.append(layer.lora_A[name].weight)
        found.append(layer.lora_B[name].weight)
    return found
