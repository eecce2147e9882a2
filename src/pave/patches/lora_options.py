"""Options of peft's `LoraConfig`: which a patch can have, and why it cannot have the others.

A fresh patch gives exactly what the base gives, its weights can be turned down to zero, and rows
without the channel get nothing of it. An option that breaks one of these is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PEFT_NAMES: Mapping[str, str] = {
    "r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
}
"""peft's name of an option -> its name here."""

_BASE = "it would change weights of the base, which stay as they are"
_START = "the update would not start at exactly zero, so a fresh patch would not be the base"
_START_DATA = f"{_START}, and it needs to look at data first"
_OURS = "pave puts the LoRA into the language model's linear layers only; use `targets`"
_OTHER = "a patch file has no place for what it adds"

REFUSED: Mapping[str, str] = {
    "bias": "it would train the base's own biases, which stay as they are",
    "modules_to_save": f"{_BASE}: whole modules would be copied into the patch",
    "trainable_token_indices": _BASE,
    "ensure_weight_tying": _BASE,
    "layer_replication": f"{_BASE}: layers would be doubled",
    "loftq_config": f"{_BASE}: LoftQ quantises them again",
    "eva_config": _START_DATA,
    "corda_config": _START_DATA,
    "lora_ga_config": _START_DATA,
    "lora_bias": "it adds biases, which merging and joining patches would lose",
    "exclude_modules": _OURS,
    "layers_to_transform": _OURS,
    "layers_pattern": _OURS,
    "target_parameters": _OURS,
    "fan_in_fan_out": _OURS,
    "megatron_config": _OURS,
    "megatron_core": _OURS,
    "velora_config": _OTHER,
    "monteclora_config": _OTHER,
    "kasa_config": _OTHER,
    "arrow_config": _OTHER,
    "use_bdlora": _OTHER,
    "use_qalora": _OTHER,
    "qalora_group_size": _OTHER,
    "alora_invocation_tokens": "a patch works on the whole prompt, not only after a certain word",
    "runtime_config": "it belongs to a run of peft, not to the LoRA",
    "inference_mode": "it belongs to a run of peft, not to the LoRA",
    "task_type": "it belongs to a run of peft, not to the LoRA",
    "peft_type": "a patch can hold only a LoRA, no other kind of adapter",
    "auto_mapping": "pave sets this itself",
    "base_model_name_or_path": "pave sets this itself",
    "revision": "pave sets this itself",
    "peft_version": "peft writes it itself",
}
"""Option of peft -> why a patch cannot have it."""

_DEFAULTS: Mapping[str, Any] = {
    "bias": "none",
    "megatron_core": "megatron.core",
    "qalora_group_size": 16,
    "peft_type": "LORA",
}
"""peft's defaults of these; all others are empty, false or None."""

STARTS: Mapping[str, str] = {
    "false": f"{_START}: A and B would both be random",
    "pissa": f"{_START}: it moves the base's largest directions into the LoRA",
    "olora": f"{_START}: it moves directions of the base into the LoRA",
    "corda": _START_DATA,
    "eva": "it looks at data before the LoRA exists, which pave's training does not do",
    "lora_ga": _START_DATA,
    "loftq": f"{_BASE}: LoftQ quantises them again",
    "orthogonal": f"{_START}: its product is zero only up to rounding",
    "mica": f"{_BASE}: it starts from their small directions, which a resumed run would need again",
}
"""Ways to initialise a LoRA that are refused -> why."""


def check_options(values: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """What is left of LoRA options for the settings class, in its own names.

    Args:
        values: Options as given.
        known: The names of the settings class.

    Raises:
        ValueError: For an option that cannot be had; it says why, or what it is called here.
    """
    left = dict(values)
    for name, value in values.items():
        if name in known:
            continue
        if name in PEFT_NAMES:
            raise ValueError(f"peft's {name} is called {PEFT_NAMES[name]} here")
        if name not in REFUSED:  # the settings class says so itself
            continue
        # Copied from somebody's peft settings: said, and nothing asked for.
        if value and value != _DEFAULTS.get(name):
            raise ValueError(f"{name}={value!r} is not supported: {REFUSED[name]}")
        del left[name]
    start = left.get("init_lora_weights", True)
    for refused, reason in STARTS.items():
        if str(start).lower().startswith(refused):
            raise ValueError(f"init_lora_weights={start!r} is not supported: {reason}")
    return left
