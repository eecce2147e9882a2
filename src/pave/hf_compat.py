"""Every place where pave leans on what transformers, peft, accelerate or torch do not promise.

One function for each private or version-dependent fact, with the versions it was checked with in
its docstring. `tests/test_hf_compat.py` names each attribute, so that an upgrade that takes one
away fails there, in words, and not deep inside a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def change_counter(tensor: Tensor) -> int:
    """How often a tensor was changed in place: `Tensor._version`.

    Tensors made in inference mode count nothing and give 0. Checked with torch 2.13.0.
    """
    if tensor.is_inference():
        return 0
    return int(tensor._version)


def activate_adapters(layer: Any, names: Sequence[str]) -> None:
    """Let these adapters of a peft layer work, and no others: `BaseTunerLayer._active_adapter`.

    peft's own `set_adapter` also freezes the adapters that it switches off, or all of them; who is
    at work in one call must not change what trains. Checked with peft 0.21.2.
    """
    layer._active_adapter = list(names)


def adapter_in_float32(model: nn.Module, name: str) -> None:
    """Cast a fresh adapter of 16 bits to float32, as peft's own entry points do.

    An optimiser's small steps vanish in a half-precision LoRA. It is
    `peft.tuners.tuners_utils.cast_adapter_dtype`, which peft's front does not export. Checked with
    peft 0.21.2.
    """
    from peft.tuners.tuners_utils import cast_adapter_dtype

    cast_adapter_dtype(model, adapter_name=name)


def enable_checkpointing(model: Any, kwargs: dict[str, Any], **options: Any) -> None:
    """Have a Hugging Face model compute activations again in the backward pass.

    The method was called `gradient_checkpointing_enable` before transformers 5.2x. Checked with
    transformers 5.18 and 5.23.0.
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    if enable is None:
        enable = model.gradient_checkpointing_enable
    enable(kwargs, **options)
