"""Patches on a `PatchedModel`: put in place, taken away, and what modules and LoRAs follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from pave import cpu
from pave.bases import tower_of
from pave.channels import Encoder, make_encoder
from pave.model.chosen import taken_by
from pave.patches.base_patches import base_patches_of, lora_of_new
from pave.patches.config import LoraSpec, PatchConfig
from pave.patches.fit import feed_as_trained
from pave.patches.lora import copy_values
from pave.patches.names import free_name
from pave.patches.new import NewChannel, new_config
from pave.patches.parts import fusion_of
from pave.patches.patch import Patch
from pave.seeds import seeded

if TYPE_CHECKING:
    from pave.model.model import PatchedModel
    from pave.model.saved import SavedPatch


@dataclass(frozen=True)
class Fresh:
    """What a fresh patch is made of; see `PatchedModel.new_patch` for each."""

    channels: Mapping[str, NewChannel]
    name: str | None
    lora: LoraSpec | None
    lora_per_channel: bool
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
    usual = "-".join(fresh.channels) or "lora"  # a LoRA alone has no channel
    name = free_name(fresh.name or usual, set(fresh.channels), model.patches)
    made: dict[str, Encoder] = {}
    for channel, new in fresh.channels.items():
        if new.encoder is not None:
            tower = tower_of(model.base)
            made[channel] = make_encoder(channel, new.encoder, new.encoder_settings, tower=tower)
    # Refused before anything is put on the base.
    continued = fresh.continue_lora
    config = new_config(
        model.base,
        fresh.channels,
        made,
        lora=lora_of_new(model.patches, fresh.lora, continued),
        lora_per_channel=fresh.lora_per_channel,
        base_patches=base_patches_of(model.patches, fresh.base_patches, continued),
        **about,
    )
    # The same seed gives the same patch, whatever was drawn before.
    with seeded(fresh.seed):
        patch = attach(model, name, config, trainable=True)
    for channel, encoder in made.items():
        patch.parts[channel].encoder = encoder
    if continued is not None:
        # It begins where the other one ended, and leaves that one as it is.
        theirs = model.patches[continued].lora
        assert patch.lora is not None and theirs is not None  # checked above
        copy_values(theirs.parameters(), patch.lora.parameters())
    for other in fresh.base_patches:
        model.set_trainable(other, False)
    return name


def attach_saved(model: PatchedModel, saved: SavedPatch, *, trainable: bool) -> None:
    """Put a patch that was read from a folder in place: all of it, or nothing is changed.

    Raises:
        PatchError: If it was fed otherwise than the patches on the base, or does not fit.
    """
    fed = model.base.inputs  # to go back to if the patch does not fit
    feed_as_trained(saved.config, model.base, model.patches)
    with model.lock:  # nobody answers with a half of it
        try:
            patch = attach(
                model, saved.name, saved.config, trainable=trainable, fusion=saved.fusion
            )
            if patch.lora is not None:
                saved.fill(patch.lora)
        except BaseException:  # Ctrl-C too
            detach(model, saved.name)
            model.base.use(fed)
            raise
    patch.saved, patch.folder = patch.changes(), saved.folder


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
    with model.lock:
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
    with model.lock:
        model.loras.remove_all(name)  # first: it refuses where others have put adapters beside it
        if name in model.patches:
            del model.patches[name]
        settle(model)


def settle(model: PatchedModel) -> None:
    """Make modules and LoRAs what the patches say: weights, what trains, and who works.

    It waits for answers that are being generated: they stay with what they began with.
    """
    with model.lock:
        model.taken = taken_by(model.patches)
        model.loras.release()  # what the last batch of a training kept is no longer right
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
