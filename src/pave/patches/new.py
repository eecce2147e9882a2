"""The config of a patch that is made or saved: what is given, and what follows from the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pave.bases import Base
from pave.channels import Encoder
from pave.errors import ConfigError
from pave.fusion import FusionSettings, read_fusion_config
from pave.patches.config import BaseId, EncoderSpec, PatchConfig, reason
from pave.version import __version__


def new_config(
    base: Base,
    channel: str | None,
    encoder: Encoder | None,
    fusion: Mapping[str, Any],
    **fields: Any,
) -> PatchConfig:
    """The config of a fresh patch; the fusion's widths follow from the encoder and the base.

    Args:
        base: The base it is for.
        channel: Its channel, or None.
        encoder: The channel's encoder, or None.
        fusion: Fields of the fusion's settings that differ from the defaults.
        **fields: Further fields of `PatchConfig`.

    Raises:
        ConfigError: If a field is wrong, or the width of the side tokens is not known.
    """
    if channel is None and fusion:
        raise ConfigError(
            "a patch without a channel has no fusion; name a channel or leave the fusion settings "
            "out"
        )
    if channel is not None and encoder is None and "side_dim" not in fusion:
        raise ConfigError(
            f"channel '{channel}' has no encoder to tell its width; give fusion={{'side_dim': ...}}"
        )
    try:
        if channel is not None:
            fields["fusion"] = _fusion_config(base, encoder, fusion)
        if encoder is not None:
            fields["encoder"] = EncoderSpec(name=encoder.name, settings=dict(encoder.settings))
        return PatchConfig(
            pave_version=__version__,
            base=BaseId(name=base.name, fingerprint=base.fingerprint()),
            inputs=base.inputs,
            channel=channel,
            **fields,
        )
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be made: {reason(error)}") from error


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
        given: Fields of `PatchConfig`; None leaves the patch's own.

    Raises:
        ConfigError: If a field is wrong.
    """
    fields = config.model_dump()  # plain data, so that what is given is checked like the rest
    for key, value in given.items():
        if value is not None:
            fields[key] = value
    fields["pave_version"] = __version__
    fields["files"] = {}
    try:
        return PatchConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be saved: {reason(error)}") from error
