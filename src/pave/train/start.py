"""What a run begins with: the frozen patches it stands on, an encoder for each patch, the fresh patch and its aligned start.

Tokens go by patch, not by channel: two patches may listen to one channel through different
encoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import set_seed

from pave.bases import tower_of
from pave.channels import Encoder, make_encoder
from pave.data import Features, Record
from pave.errors import ConfigError
from pave.fusion import Fusion
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.patches.base_patches import lora_of_new
from pave.patches.lora import check_targets
from pave.patches.new import new_config
from pave.train.align import align
from pave.train.config import TrainConfig

NAME = "patch"
BELOW = "below"  # and a number: the patches that the new one stands on


def put_below(patched: PatchedModel, config: TrainConfig) -> list[str]:
    """Load the patches that the new one stands on, frozen; their names on the model.

    How the base is fed is theirs where the settings leave it open.

    Raises:
        PatchError: If one cannot be loaded.
        ConfigError: If they were trained with other inputs than the settings name.
    """
    names = [
        patched.load_patch(source, name=f"{BELOW}{number}")
        for number, source in enumerate(config.on_top_of, 1)
    ]
    if names and not config.inputs.native and patched.base.inputs != config.inputs:
        theirs = patched.base.inputs.model_dump(exclude_defaults=True)
        raise ConfigError(
            f"the patches in on_top_of were trained with inputs {theirs}; leave `inputs` out or "
            "set the same"
        )
    return names


def encoders_of(
    patched: PatchedModel, below: Sequence[str], config: TrainConfig
) -> dict[str, Encoder]:
    """Patch name -> encoder, the new patch's own under `NAME`.

    Wrong settings of encoder, fusion or LoRA show here, before hours of encoding and not after.

    Raises:
        ChannelError: If an encoder is unknown or misconfigured.
        ConfigError: If the new patch cannot be made.
        PatchError: If the LoRA has no place in the language model.
    """
    found = {name: patched.encoder(name) for name in below}
    lora = lora_of_new(patched.patches, _own_lora(config), _continued(patched, below, config))
    if lora is not None:
        check_targets(patched.base.model, lora, patched.base.family)
    if config.channel and config.encoder:
        tower = tower_of(patched.base)
        own = found[NAME] = make_encoder(
            config.channel, config.encoder, config.encoder_settings, tower=tower
        )
        new_config(
            patched.base,
            config.channel,
            own,
            config.fusion,
            lora=lora,
            prompt=config.prompt,
            task=config.task,
        )
    return {name: encoder for name, encoder in found.items() if encoder is not None}


def put_new(
    patched: PatchedModel,
    encoders: Mapping[str, Encoder],
    below: Sequence[str],
    config: TrainConfig,
) -> None:
    """A fresh patch on the model, on top of those below; its weights depend on the seed (and a continued LoRA) alone."""
    set_seed(config.seed)
    encoder = encoders.get(NAME)
    patched.new_patch(
        None if encoder is None else encoder.channel,
        name=NAME,
        encoder=None if encoder is None else encoder.name,
        encoder_settings=None if encoder is None else dict(encoder.settings),
        fusion=None if encoder is None else {"side_dim": encoder.dim, **config.fusion},
        lora=_own_lora(config),
        prompt=config.prompt,
        task=config.task,
        base_patches=below,
        continue_lora=_continued(patched, below, config),
    )
    if config.gradient_checkpointing:
        patched.activation_checkpointing_enable()


def align_new(
    patched: PatchedModel,
    groups: Sequence[Sequence[Record]],
    features: Features,
    config: TrainConfig,
) -> None:
    """Give the fresh fusion its aligned start."""
    patch = patched.patches[NAME]
    fusion, channel = patch.fusion, patch.config.channel
    assert isinstance(fusion, Fusion)
    assert channel is not None  # a patch with a fusion has one
    align(
        patched.base,
        fusion,
        channel,
        groups,
        features,
        name=NAME,
        families=config.align_families,
        steps=config.align_steps,
        share=config.align_share,
        seed=config.seed,
    )


def _own_lora(config: TrainConfig) -> LoraSpec | None:
    """Shape of the new patch's own LoRA; a continued one has the shape of the one it came from."""
    return None if config.lora_below == "continued" else config.lora


def _continued(patched: PatchedModel, below: Sequence[str], config: TrainConfig) -> str | None:
    """The patch whose LoRA is trained on: the last one that has one (an earlier one is what that one stands on)."""
    if config.lora_below == "frozen":
        return None
    names = [name for name in below if patched.patches[name].config.lora is not None]
    if not names:
        raise ConfigError(
            "none of the patches in on_top_of has a LoRA to continue; set lora_below to frozen"
        )
    return names[-1]
