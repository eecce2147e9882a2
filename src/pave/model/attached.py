"""Patches on a `PatchedModel`: put in place, taken away, and what modules and LoRAs follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from pave import cpu
from pave.fusion import make_fusion
from pave.model.chosen import taken_by
from pave.patches.config import PatchConfig
from pave.patches.patch import Patch

if TYPE_CHECKING:
    from pave.model.model import PatchedModel


def attach(
    model: PatchedModel,
    name: str,
    config: PatchConfig,
    *,
    trainable: bool,
    fusion: nn.Module | None = None,
) -> Patch:
    """Put a patch in place, at weight 1: a fresh LoRA, and the fusion given or a fresh one."""
    lora = None
    try:
        if config.lora is not None:
            lora = model.loras.add(name, config.lora)
        if fusion is None and config.fusion is not None:
            fusion = make_fusion(config.fusion)
        if fusion is not None:
            fusion.to(model.base.device)  # its type stays float32
            cpu.speed_up(fusion)
        model.patches[name] = Patch(name, config, fusion, lora, trainable=trainable)
        settle(model)
    except BaseException:
        detach(model, name)
        raise
    return model.patches[name]


def detach(model: PatchedModel, name: str) -> None:
    """Take away whatever there is of a patch."""
    model.loras.remove(name)  # first: it refuses where others have put adapters beside it
    if name in model.patches:
        del model.patches[name]
    settle(model)


def settle(model: PatchedModel) -> None:
    """Make modules and LoRAs what the patches say: weights, what trains, and who works."""
    model.taken = taken_by(model.patches)
    working = []
    for name, patch in model.patches.items():
        patch.set_trainable(patch.trainable)
        if patch.lora is None or patch.weight == 0:
            continue
        patch.lora.set_weight(patch.weight)
        if name not in model.taken:  # else it works in calls that lack the other's channel
            working.append(name)
    model.loras.activate(working)
    model.train(model.training)  # dropout on in patches that train, off in the rest
