"""What is on a base, as plain data for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pave.model.model import PatchedModel


def describe(model: PatchedModel) -> dict[str, Any]:
    """Base, patches with channel, weight and parameter counts, and totals; JSON-ready."""
    patches = {name: _patch(model, name) for name in model.configs}
    return {
        "base": model.base.name,
        "family": model.base.family.name,
        "patches": patches,
        "trainable_parameters": sum(p.numel() for p in model.trainable_parameters().values()),
        "patch_parameters": sum(
            row["fusion_parameters"] + row["lora_parameters"] for row in patches.values()
        ),
        "all_parameters": sum(p.numel() for p in model.parameters()),
    }


def summarise(model: PatchedModel) -> str:
    """What trains, in one line as peft prints it."""
    info = describe(model)
    share = 100 * info["trainable_parameters"] / info["all_parameters"]
    return f"trainable: {info['trainable_parameters']:,} of {info['all_parameters']:,} parameters ({share:.2f} %)"


def _patch(model: PatchedModel, name: str) -> dict[str, Any]:
    config = model.configs[name]
    fusion = model.fusions[name].parameters() if name in model.fusions else ()
    return {
        "channel": config.channel,
        "encoder": None if config.encoder is None else config.encoder.model_dump(),
        "weight": model.weights[name],
        "stands_on": [foundation.name for foundation in config.stands_on],
        "trainable": any(key.startswith(f"{name}.") for key in model.trainable_parameters()),
        "fusion_parameters": sum(p.numel() for p in fusion),
        "lora_parameters": sum(p.numel() for p in model.loras.parameters(name).values()),
        "base": config.base.name,
        "task": config.task,
        "licence": config.licence,
    }
