"""The control that every result needs: the same LoRA on the same records without the channel."""

from __future__ import annotations

from pave.errors import ConfigError
from pave.train.config import TrainConfig

OF_THE_CHANNEL = (
    "channel",
    "encoder",
    "encoder_settings",
    "fusion",
    "channels",
    "lora_per_channel",
    "align_steps",
    "align_families",
    "align_clips",
    "align_share",
    "counterfactual",
    "modality_dropout",
    "gate_share",
)
"""Settings that mean nothing without a channel."""


def without_channel(config: TrainConfig) -> TrainConfig:
    """The settings of the LoRA-only control: all that is left without the channel.

    Raises:
        ConfigError: If nothing is left to train.

    Example:
        >>> sound = TrainConfig(records="r", out="o", channel="audio", encoder="mel", align_steps=9)
        >>> without_channel(sound).align_steps
        0
    """
    if config.lora is None:
        raise ConfigError("the control is a LoRA without the channel, but `lora` is null here")
    # What is left out gets its default, which asks nothing of a channel.
    return TrainConfig.model_validate(config.model_dump(exclude=set(OF_THE_CHANNEL)))
