"""The config of a patch that is made or saved: what is given, and what follows from the base."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import ValidationError

from pave.bases import Base
from pave.bases.digest import known_by
from pave.bases.quantised import method_of
from pave.channels import Encoder
from pave.errors import ConfigError
from pave.fusion import FusionSettings, read_fusion_config
from pave.patches.config import BaseId, ChatSpec, EncoderSpec, PatchConfig, reason
from pave.patches.lora_targets import check_names
from pave.version import __version__

DROPPED: Any = object()
"""In place of a field's value in `saved_config`: the patch's own is not kept."""


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
        PatchError: If a target of the LoRA is not there.
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
            channel=channel,
            **fields,
        )
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be made: {reason(error)}") from error
    for spec in config.loras.values():
        check_names(base.model, spec, base.family)
    return config


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """For the time of the context draws follow from a seed, and the caller's are left alone.

    Args:
        seed: None draws from the caller's random state.

    Raises:
        ConfigError: If it is no whole number of 64 bits.
    """
    if seed is not None and (type(seed) is not int or not -(2**63) <= seed < 2**64):
        raise ConfigError(f"a seed is a whole number of at most 64 bits, got {seed!r}")
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


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
        return PatchConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be saved: {reason(error)}") from error
