"""What a run begins with: base patches, encoders, the fresh patch, its aligned start.

Tokens go by patch, not by channel: two patches may read one channel through different encoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from transformers import set_seed

from pave.bases import PromptStyle, tower_of
from pave.channels import Encoder, make_encoder
from pave.data import Features, Record
from pave.errors import ConfigError
from pave.fusion import Fusion
from pave.fusion_registry import CONCAT
from pave.model import PatchedModel
from pave.model.encoders import appended_of, encoders_of
from pave.patches import LoraSpec
from pave.patches.base_patches import base_patches_of, lora_of_new
from pave.patches.config import PatchConfig
from pave.patches.gates import gated_parts
from pave.patches.lora_targets import check_names, check_targets
from pave.patches.new import NewChannel, new_config
from pave.patches.parts import part_key
from pave.train.align import AlignSettings, align
from pave.train.align_clips import align_to_clips
from pave.train.config import TrainConfig
from pave.train.origin import NAME, Origin

BELOW = "below"
"""And a number: the base patches. A patch folder keeps these names, so they stay as they are."""


def load_base_patches(patched: PatchedModel, config: TrainConfig) -> list[str]:
    """Load the patches on top of which the new one trains, frozen.

    How the base is fed is theirs where the settings leave it open.

    Returns:
        Their names on the model.

    Raises:
        PatchError: If one cannot be loaded.
        ConfigError: If they were trained with other inputs than the settings name.
    """
    names = []
    for number, source in enumerate(config.base_patches, 1):
        names.append(patched.load_patch(source, name=f"{BELOW}{number}"))
    _speak_as_they_do(patched)
    for part in gated_parts(patched.patches):
        # Its questions could not share a sequence with others.
        raise ConfigError(
            f"the patch of {part.channel} in base_patches has a question gate; a patch cannot be "
            "trained on top of it"
        )
    if names and not config.inputs.native and patched.base.inputs != config.inputs:
        theirs = patched.base.inputs.model_dump(exclude_defaults=True)
        raise ConfigError(
            f"the patches in base_patches were trained with inputs {theirs}; leave `inputs` out, "
            "or set the same"
        )
    return names


def _speak_as_they_do(patched: PatchedModel) -> None:
    """Train in the chat format of the base patches: they are asked together with the new one."""
    told: dict[PromptStyle, str] = {}  # format -> the first base patch in it
    for name, patch in patched.patches.items():
        if patch.config.chat is not None:
            told.setdefault(patch.config.chat.style, name)
    if len(told) > 1:
        raise ConfigError(
            f"the patches in base_patches ({', '.join(told.values())}) were trained in different "
            "chat formats; use only one of them"
        )
    for style in told:
        patched.base.chat = patched.base.chat_in(style)


def make_encoders(
    patched: PatchedModel,
    base_patches: Sequence[str],
    config: TrainConfig,
    origin: Origin | None = None,
) -> dict[str, Encoder]:
    """Name of a patch's tokens -> encoder, the new patch's own under `NAME`.

    Wrong settings of encoder, fusion or LoRA show here, before hours of encoding and not after.

    Args:
        patched: The model with the base patches.
        base_patches: Their names.
        config: The settings.
        origin: What the weights are to come from, which must fit them.

    Raises:
        ChannelError: If an encoder is unknown or misconfigured.
        ConfigError: If the new patch cannot be made.
        PatchError: If the LoRA has no place in the language model.
    """
    base = patched.base
    encoders: dict[str, Encoder] = {}
    for name in base_patches:
        encoders |= encoders_of(patched, name)  # a LoRA-only patch has none
    continued = _continued(patched, base_patches, config)
    lora = lora_of_new(patched.patches, _own_lora(config), continued)
    if lora is not None:
        check_names(base.model, lora, base.family)
        check_targets(base.model, lora, base.family)
    for channel, part in config.parts.items():
        encoders[part_key(NAME, channel, len(config.parts))] = make_encoder(
            channel, part.encoder, part.encoder_settings, tower=tower_of(base)
        )
    # Also where nothing is compared with it: what is wrong with the fusion's settings is said now.
    planned = _planned(patched, encoders, base_patches, config)
    if origin is not None:
        origin.check(planned)
    return encoders


def _planned(
    patched: PatchedModel,
    encoders: Mapping[str, Encoder],
    base_patches: Sequence[str],
    config: TrainConfig,
) -> PatchConfig:
    """What the patch will be that `add_new_patch` makes of the same arguments.

    Raises:
        ConfigError: If it cannot be made.
    """
    own = _own_encoders(encoders, config)
    continued = _continued(patched, base_patches, config)
    return new_config(
        patched.base,
        _new_channels(config, own),
        own,
        lora=lora_of_new(patched.patches, _own_lora(config), continued),
        lora_per_channel=config.lora_per_channel,
        prompt=config.prompt,
        task=config.task,
        base_patches=base_patches_of(patched.patches, base_patches, continued),
    )


def appended_tokens(
    patched: PatchedModel, base_patches: Sequence[str], config: TrainConfig
) -> list[str]:
    """Names of the tokens that the base patches and the new one append to the prompt."""
    found = appended_of(patched, base_patches)
    for channel, part in config.parts.items():
        if part.fusion.get("type") == CONCAT:
            found.append(part_key(NAME, channel, len(config.parts)))
    return found


def add_new_patch(
    patched: PatchedModel,
    encoders: Mapping[str, Encoder],
    base_patches: Sequence[str],
    config: TrainConfig,
) -> None:
    """Put a fresh patch on the model; its weights depend on the seed and a continued LoRA alone.

    Args:
        patched: The model with the base patches.
        encoders: From `make_encoders`.
        base_patches: Names of the patches on top of which it trains.
        config: Its settings.
    """
    set_seed(config.seed)
    patched.new_patch(
        _new_channels(config, _own_encoders(encoders, config)),
        name=NAME,
        lora=_own_lora(config),
        lora_per_channel=config.lora_per_channel,
        prompt=config.prompt,
        task=config.task,
        frames=config.frames,
        base_patches=base_patches,
        continue_lora=_continued(patched, base_patches, config),
    )
    if config.gradient_checkpointing:
        patched.activation_checkpointing_enable(config.trainer.get("gradient_checkpointing_kwargs"))


def _own_encoders(encoders: Mapping[str, Encoder], config: TrainConfig) -> dict[str, Encoder]:
    """Channel -> encoder, of the new patch alone."""
    own = {}
    for channel in config.parts:
        own[channel] = encoders[part_key(NAME, channel, len(config.parts))]
    return own


def _new_channels(config: TrainConfig, encoders: Mapping[str, Encoder]) -> dict[str, NewChannel]:
    """The channels of the new patch, with all settings of their encoders spelt out."""
    found = {}
    for channel, part in config.parts.items():
        encoder = encoders[channel]
        fusion = {"side_dim": encoder.dim, **part.fusion}
        found[channel] = NewChannel(encoder.name, dict(encoder.settings), fusion)
    return found


def align_new_patch(
    patched: PatchedModel,
    groups: Sequence[Sequence[Record]],
    features: Features,
    config: TrainConfig,
    clips: Sequence[Record] = (),
) -> None:
    """Give each fresh fusion its aligned start, where the settings ask for one.

    Args:
        patched: The model with the new patch.
        groups: The training records by clip.
        features: Cached tokens of all clips.
        config: The settings.
        clips: One record of each clip of `align_clips`.
    """
    if not config.align_steps:
        return
    for channel, part in patched.patches[NAME].parts.items():
        if not isinstance(part.fusion, Fusion):
            raise ConfigError("an aligned start is for pave's own fusion; set align_steps to 0")
        settings = AlignSettings(
            channel=channel,
            steps=config.align_steps,
            share=config.align_share,
            seed=config.seed,
            name=part.key,
            families=config.align_families,
        )
        if config.align_clips is None:
            align(patched.base, part.fusion, groups, features, settings)
            continue
        # The language model reads as fast as it will in training.
        device = patched.base.device.type
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            align_to_clips(patched, part.fusion, clips, features, settings)


def _own_lora(config: TrainConfig) -> LoraSpec | None:
    """Shape of the new patch's own LoRA; a continued one has the shape of the one it came from."""
    if config.base_lora == "continued":
        return None
    return config.lora


def _continued(
    patched: PatchedModel, base_patches: Sequence[str], config: TrainConfig
) -> str | None:
    """The patch whose LoRA is trained on, if any.

    It is the last one that has a LoRA: an earlier one's is what that one was trained on top of.
    """
    if config.base_lora == "frozen":
        return None
    for name in reversed(base_patches):
        if patched.patches[name].config.lora is not None:
            return name
    raise ConfigError(
        "none of the patches in base_patches has a LoRA to continue; set base_lora to frozen"
    )
