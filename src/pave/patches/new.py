"""The config of a patch that is made or saved: what is given, and what follows from the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from pave.arguments import as_flag
from pave.bases import Base
from pave.bases.digest import known_by
from pave.bases.quantised import method_of
from pave.channels import Encoder
from pave.errors import ConfigError
from pave.fusion import FusionSettings, read_fusion_config
from pave.patches.config import (
    SCHEMA_VERSION,
    BaseId,
    ChannelSpec,
    ChatSpec,
    EncoderSpec,
    LoraSpec,
    PatchConfig,
    reason,
)
from pave.patches.lora_targets import check_names
from pave.version import __version__

DROPPED: Any = object()
"""In place of a field's value in `saved_config`: the patch's own is not kept."""


@dataclass(frozen=True)
class NewChannel:
    """A channel of a patch that is to be made.

    Attributes:
        encoder: Name of its encoder; None for tokens made elsewhere (then `fusion` must hold
            `side_dim`).
        encoder_settings: Settings that differ from the encoder's defaults.
        fusion: Fields of the fusion's settings that differ from the defaults.

    Example:
        >>> NewChannel("mel", fusion={"hidden": 64}).encoder
        'mel'
    """

    encoder: str | None = "mel"
    encoder_settings: Mapping[str, Any] = field(default_factory=dict)
    fusion: Mapping[str, Any] = field(default_factory=dict)


def or_empty(settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Settings, where there are any.

    Raises:
        ConfigError: If they are no mapping.
    """
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise ConfigError(f"settings are a mapping, got {type(settings).__name__}")
    return settings


def channels_of(
    channel: str | Mapping[str, NewChannel] | None, one: NewChannel
) -> Mapping[str, NewChannel]:
    """The channels of a new patch.

    Args:
        channel: Its only channel, None for a LoRA-only control, or all of several.
        one: What is said of an only channel.

    Raises:
        ConfigError: If it is said of none, or of several.
    """
    if isinstance(channel, str):
        return {channel: one}
    if one.fusion and channel is None:
        raise ConfigError(
            "a patch without a channel has no fusion; name a channel, or leave out the fusion "
            "settings"
        )
    if channel is not None and one != NewChannel():
        raise ConfigError(
            "with several channels, each needs its own encoder and fusion: use NewChannel(...)"
        )
    return channel or {}


def new_config(
    base: Base,
    channels: Mapping[str, NewChannel],
    encoders: Mapping[str, Encoder],
    *,
    lora: LoraSpec | None = None,
    lora_per_channel: bool = False,
    **fields: Any,
) -> PatchConfig:
    """The config of a fresh patch; the fusions' widths follow from the encoders and the base.

    Args:
        base: The base it is for.
        channels: Its channels; none of a LoRA-only control.
        encoders: Channel -> its encoder, made; a channel of ready-made tokens has none.
        lora: Shape of the LoRA.
        lora_per_channel: Whether each of several channels has a LoRA of this shape, instead of one
            that they share.
        **fields: Further fields of `PatchConfig`.

    Raises:
        ConfigError: If a field is wrong, or the width of the side tokens is not known.
        PatchError: If a target of the LoRA is not there.
    """
    if as_flag(lora_per_channel, "lora_per_channel") and (lora is None or len(channels) < 2):
        raise ConfigError("a LoRA per channel needs at least two channels, and a LoRA")
    each = lora if lora_per_channel else None
    try:
        specs = {}
        for channel, new in channels.items():
            spec = _channel_spec(base, channel, new, encoders.get(channel))
            specs[channel] = spec.model_copy(update={"lora": each})
        fields |= channel_fields(specs)
        if not lora_per_channel:
            fields["lora"] = lora
        known = BaseId(
            name=base.name,
            revision=base.revision,
            quantized=method_of(base.config),
            fingerprint=base.fingerprint(),
            weights=known_by(base),
        )
        config = PatchConfig(
            pave_version=__version__,
            base=known,
            inputs=base.inputs,
            chat=ChatSpec(style=base.style),
            **fields,
        )
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be made: {reason(error)}") from error
    for shape in config.loras.values():
        check_names(base.model, shape, base.family)
    return config


def channel_fields(specs: Mapping[str, ChannelSpec]) -> dict[str, Any]:
    """The fields of `PatchConfig` that say which channels there are."""
    if len(specs) > 1:
        return {"channels": dict(specs), "schema_version": SCHEMA_VERSION}
    # One is said in the way that older versions read, too.
    for channel, spec in specs.items():
        return {"channel": channel, "encoder": spec.encoder, "fusion": spec.fusion}
    return {}


def _channel_spec(
    base: Base, channel: str, new: NewChannel, encoder: Encoder | None
) -> ChannelSpec:
    """One channel as `patch.json` has it."""
    if not isinstance(new.fusion, Mapping):
        raise ConfigError(f"fusion: settings are a mapping, got {type(new.fusion).__name__}")
    if encoder is None and "side_dim" not in new.fusion:
        raise ConfigError(
            f"channel '{channel}' has no encoder, so the width of its tokens is unknown; give "
            "fusion={'side_dim': ...}"
        )
    known = None
    if encoder is not None:
        known = EncoderSpec(name=encoder.name, settings=dict(encoder.settings))
    return ChannelSpec(encoder=known, fusion=_fusion_config(base, encoder, new.fusion))


def _fusion_config(
    base: Base, encoder: Encoder | None, fusion: Mapping[str, Any]
) -> FusionSettings:
    """The fusion's settings with its widths; widths that are given must be the true ones."""
    projected = fusion.get("query") == "projected"
    # The projector turns C_q of the tower into D of the language model.
    widths = {
        "query_dim": base.hidden_dim if projected else base.query_dim,
        "out_dim": base.hidden_dim,
    }
    if encoder is not None:  # else the width of ready-made tokens is given
        widths["side_dim"] = encoder.dim
    for key, width in widths.items():
        if fusion.get(key, width) != width:
            raise ConfigError(
                f"the fusion settings say {key}={fusion[key]}, but it is {width} for this base and "
                "encoder; leave it out"
            )
    return read_fusion_config({**widths, **fusion})


def saved_config(config: PatchConfig, given: Mapping[str, Any]) -> PatchConfig:
    """The config to save: what is given replaces the patch's own, the version is this pave's.

    The hashes of its files come when they are written.

    Args:
        config: The patch's own.
        given: Fields of `PatchConfig`; None leaves the patch's own, `DROPPED` takes it out.

    Raises:
        ConfigError: If a field is wrong.
    """
    fields = config.model_dump()  # plain data, so that what is given is checked like the rest
    for key, value in given.items():
        if value is DROPPED:
            fields.pop(key, None)
        elif value is not None:
            fields[key] = value
    fields["pave_version"] = __version__
    fields["files"] = {}
    try:
        made = PatchConfig.model_validate(fields)
        made.model_dump_json().encode()
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be saved: {reason(error)}") from error
    # Free fields take any object, and a text may hold half a character.
    except (PydanticSerializationError, UnicodeEncodeError) as error:
        raise ConfigError(
            "the patch cannot be saved: training and scores take what JSON can hold, and all "
            f"texts must be writable as UTF-8 ({str(error).splitlines()[0]})"
        ) from error
    return made
