"""What is on a base, as plain data for people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

from torch import nn

from pave.bases import Base
from pave.patches.config import PatchConfig
from pave.patches.patch import Patch


def describe(base: Base, patches: Mapping[str, Patch]) -> dict[str, Any]:
    """Base, patches with channel, weight and parameter counts, and totals; JSON-ready."""
    rows = {name: _row(patch) for name, patch in patches.items()}
    trainable = 0  # with gradients, in fusions and LoRAs
    added = 0  # what the patches bring, trainable or not
    fusions = 0  # modules of their own, beside the base
    for name, patch in patches.items():
        trainable += _count(patch.trainable_parameters().values())
        fusions += rows[name]["fusion_parameters"]
        added += rows[name]["fusion_parameters"] + rows[name]["lora_parameters"]
    return {
        "base": base.name,
        "family": base.family.name,
        "patches": rows,
        "trainable_parameters": trainable,
        "patch_parameters": added,
        # The LoRAs lie in the base's layers and are counted there.
        "all_parameters": _count(base.model.parameters()) + fusions,
    }


def summarise(base: Base, patches: Mapping[str, Patch]) -> str:
    """What trains, in one line as peft prints it."""
    info = describe(base, patches)
    trainable, total = info["trainable_parameters"], info["all_parameters"]
    return f"trainable: {trainable:,} of {total:,} parameters ({100 * trainable / total:.2f} %)"


def _row(patch: Patch) -> dict[str, Any]:
    """What is said of one patch."""
    config = patch.config
    encoder = None
    if config.encoder is not None:
        encoder = config.encoder.model_dump()
    lora = 0
    if patch.lora is not None:
        lora = _count(patch.lora.parameters().values())
    return {
        "channel": config.channel,
        "encoder": encoder,
        **_channels(config),
        "question_gate": any(map(attrgetter("gate"), patch.parts.values())),
        "weight": patch.weight,
        "base_patches": [base_patch.name for base_patch in config.base_patches],
        "trainable": bool(patch.trainable_parameters()),
        "fusion_parameters": _count(patch.parameters()),
        "lora_parameters": lora,
        "base": config.base.name,
        "task": config.task,
        "licence": config.licence,
    }


def _channels(config: PatchConfig) -> dict[str, Any]:
    """Of a patch with several channels, each with its encoder."""
    if not config.channels:
        return {}
    # One that takes ready-made tokens is null, as in patch.json.
    encoders: dict[str, Any] = {}
    for channel, spec in config.channels.items():
        encoders[channel] = None
        if spec.encoder is not None:
            encoders[channel] = spec.encoder.model_dump()
    return {"channels": encoders}


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
