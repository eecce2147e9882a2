"""Adapters of peft: which of them work, and which are on a model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def activate_adapters(layers: Iterable[Any], names: Sequence[str]) -> None:
    """Let these adapters of peft's layers work, and no others: `BaseTunerLayer._active_adapter`.

    peft's own `set_adapter` also freezes the adapters that it switches off, or all of them; who is
    at work in one call must not change what trains. Checked with peft 0.21.2.
    """
    for layer in layers:
        layer._active_adapter = list(names)  # a copy: the caller goes on using its own


def adapter_in_float32(model: nn.Module, name: str) -> None:
    """Cast a fresh adapter of 16 bits to float32, as peft's own entry points do.

    An optimiser's small steps vanish in a half-precision LoRA. It is
    `peft.tuners.tuners_utils.cast_adapter_dtype`, which peft's front does not export. Checked with
    peft 0.21.2.
    """
    from peft.tuners.tuners_utils import cast_adapter_dtype

    cast_adapter_dtype(model, adapter_name=name)


def expert_targets(config: Any) -> frozenset[str]:
    """LoRA targets that peft takes for a mixture's experts, by the config of its model.

    Adapters of older versions name the experts' linear layers, which are single tensors now; for
    some model types peft changes what an adapter targets to these tensors, and any pattern to plain
    endings of names. It is `_MOE_TARGET_MODULE_MAPPING` of peft, by transformers'
    `_MODEL_TO_CONVERSION_PATTERN`. Checked with peft 0.21.2 and transformers 5.23.0.
    """
    from peft.utils import transformers_weight_conversion as conversion

    # Imported there from transformers.
    kinds = conversion._MODEL_TO_CONVERSION_PATTERN
    kind = kinds.get(getattr(config, "model_type", None))
    return frozenset(conversion._MOE_TARGET_MODULE_MAPPING.get(kind, ()))


def adapters_on(model: nn.Module) -> dict[str, str]:
    """Adapters of peft in a model: path and part of a layer -> an adapter's name.

    Every layer that peft puts in derives from `peft.tuners.tuners_utils.BaseTunerLayer` or, for
    modules that are trained as a whole, from `peft.utils.other.AuxiliaryTrainingWrapper`; the first
    names its parts in `adapter_layer_names`, the second in `_adapters`. The exception is the
    attention of adaption prompts, `_BaseAdaptedAttention`, which does not know its name. Checked
    with peft 0.21.2.
    """
    if "peft" not in sys.modules:  # nobody can have put one there, and the import takes a second
        return {}
    from peft.tuners.adaption_prompt import layer as adaption_prompt
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    found = {}
    for path, module in model.named_modules():
        # A layer that is adapted, or a copy of one that trains as a whole.
        if isinstance(module, BaseTunerLayer):
            for part in module.adapter_layer_names:
                for name in getattr(module, part, None) or ():
                    found[f"{path}.{part}.{name}"] = str(name)
        elif isinstance(module, AuxiliaryTrainingWrapper):
            for name in module._adapters:
                found[f"{path}.{name}"] = str(name)
        elif isinstance(module, adaption_prompt._BaseAdaptedAttention):
            # Its parts are the layer's own parameters.
            found[path] = "adaption_prompt"
    return found


def is_peft_model(model: Any) -> bool:
    """Whether a model is one of peft's wrappers around a model of transformers.

    There are several, of which not all put layers into the model. Checked with peft 0.21.2.
    """
    if "peft" not in sys.modules:
        return False
    from peft import PeftMixedModel, PeftModel

    return isinstance(model, PeftModel | PeftMixedModel)
