"""Patches on a `PatchedModel`: put in place, taken away, and what modules and LoRAs follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from pave import cpu
from pave.bases import tower_of
from pave.channels import make_encoder
from pave.model.chosen import taken_by
from pave.patches.base_patches import base_patches_of, lora_of_new
from pave.patches.config import LoraSpec, PatchConfig
from pave.patches.lora import copy_values
from pave.patches.names import free_name
from pave.patches.new import new_config, seeded
from pave.patches.parts import fusion_of
from pave.patches.patch import Patch

if TYPE_CHECKING:
    from pave.model.model import PatchedModel


@dataclass(frozen=True)
class Fresh:
    """What a fresh patch is made of; see `PatchedModel.new_patch` for each."""

    channel: str | None
    name: str | None
    encoder: str | None
    encoder_settings: Mapping[str, Any] | None
    fusion: Mapping[str, Any]
    lora: LoraSpec | None
    base_patches: Sequence[str]
    continue_lora: str | None
    seed: int | None


def attach_fresh(model: PatchedModel, fresh: Fresh, **about: Any) -> str:
    """Make a patch and put it in place; its name.

    Args:
        model: The model.
        fresh: What it is made of.
        about: Further fields of `PatchConfig`.
    """
    channel = fresh.channel
    channels = set(filter(None, [channel]))  # a LoRA alone has none
    name = free_name(fresh.name or channel or "lora", channels, model.patches)
    made = None
    if channel is not None and fresh.encoder is not None:
        tower = tower_of(model.base)
        made = make_encoder(channel, fresh.encoder, fresh.encoder_settings, tower=tower)
    # Refused before anything is put on the base.
    continued = fresh.continue_lora
    config = new_config(
        model.base,
        channel,
        made,
        fresh.fusion,
        lora=lora_of_new(model.patches, fresh.lora, continued),
        base_patches=base_patches_of(model.patches, fresh.base_patches, continued),
        **about,
    )
    # The same seed gives the same patch, whatever was drawn before.
    with seeded(fresh.seed):
        patch = attach(model, name, config, trainable=True)
    if channel is not None:
        patch.parts[channel].encoder = made
    if continued is not None:
        # It begins where the other one ended, and leaves that one as it is.
        theirs = model.patches[continued].lora
        assert patch.lora is not None and theirs is not None  # checked above
        copy_values(theirs.parameters(), patch.lora.parameters())
    for other in fresh.base_patches:
        model.set_trainable(other, False)
    return name


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
        lora = model.loras.add_all(name, config.loras)
        if fusion is None:
            fusion = fusion_of(config)
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
    model.loras.remove_all(name)  # first: it refuses where others have put adapters beside it
    if name in model.patches:
        del model.patches[name]
    settle(model)


def settle(model: PatchedModel) -> None:
    """Make modules and LoRAs what the patches say: weights, what trains, and who works."""
    model.taken = taken_by(model.patches)
    working: list[str] = []
    for name, patch in model.patches.items():
        patch.set_trainable(patch.trainable)
        if patch.lora is None or patch.weight == 0:
            continue
        patch.lora.set_weight(patch.weight)
        if name not in model.taken:  # else it works in calls that lack the other's channel
            working += patch.lora.names
    model.loras.activate(working)
    model.train(model.training)  # dropout on in patches that train, off in the rest
