"""Small steps in making, loading and saving patches: configs for new and saved ones, and checks that refuse wrong ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from pydantic import ValidationError
from torch import Tensor, nn

from pave.bases import Base, tower_of
from pave.channels import Encoder, make_encoder
from pave.errors import BaseError, ConfigError, PatchError
from pave.fusion import Fusion, FusionConfig
from pave.patches.card import make_card
from pave.patches.config import BaseId, EncoderSpec, PatchConfig, check_name, reason
from pave.patches.folder import FUSION, LORA, PatchFiles, check_tensors, read_folder, write_folder
from pave.patches.lora import lora_config
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
        fusion: Fields of `FusionConfig` that differ from the defaults.
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
        return PatchConfig(
            pave_version=__version__,
            base=BaseId(name=base.name, fingerprint=base.fingerprint()),
            inputs=base.inputs,
            channel=channel,
            encoder=None
            if encoder is None
            else EncoderSpec(name=encoder.name, settings=dict(encoder.settings)),
            fusion=None if channel is None else _fusion_config(base, encoder, fusion),
            **fields,
        )
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be made: {reason(error)}") from error


def _fusion_config(base: Base, encoder: Encoder | None, fusion: Mapping[str, Any]) -> FusionConfig:
    projected = fusion.get("query") == "projected"
    widths = {
        "query_dim": base.hidden_dim if projected else base.query_dim,
        "out_dim": base.hidden_dim,
    }
    if encoder is not None:
        widths["side_dim"] = encoder.dim
    wrong = [
        f"{key}={fusion[key]}, but it is {value}"
        for key, value in widths.items()
        if fusion.get(key, value) != value
    ]
    if wrong:
        raise ConfigError(
            f"the fusion settings say {wrong[0]} for this base and encoder; leave it out"
        )
    return FusionConfig(**{**widths, **fusion})


def encoder_for(
    base: Base, channel: str | None, name: str | None, settings: Mapping[str, Any]
) -> Encoder | None:
    """A patch's encoder, with the base's tower where it reads with that; None where tokens come ready-made.

    Raises:
        ChannelError: If the encoder is unknown or misconfigured.
    """
    return (
        None
        if channel is None or name is None
        else make_encoder(channel, name, settings, tower=tower_of(base))
    )


def saved_config(config: PatchConfig, **given: Any) -> PatchConfig:
    """The config to save: fields that are given replace the patch's own, the version is this pave's, hashes come later.

    Raises:
        ConfigError: If a field is wrong.
    """
    fields = {key: value for key, value in given.items() if value is not None}
    try:
        return PatchConfig.model_validate(
            {**config.model_dump(), **fields, "pave_version": __version__, "files": {}}
        )
    except ValidationError as error:
        raise ConfigError(f"the patch cannot be saved: {reason(error)}") from error


def default_name(source: str | Path, folder: Path) -> str:
    """What to call a loaded patch: the last part of its Hub id or path, without dots (module names cannot hold them)."""
    last = str(source).rpartition("/")[2] if folder != Path(source) else folder.resolve().name
    return last.replace(".", "-")


def free_name(name: str, channel: str | None, configs: Mapping[str, PatchConfig]) -> str:
    """A new patch's name. Tokens are given by a patch's name or by its channel, so neither may mean two things.

    Args:
        name: What it is to be called.
        channel: Its channel, or None.
        configs: Patches on the base.

    Raises:
        PatchError: If it is taken or invalid, or one patch's name would be another's channel.
    """
    if name in configs:
        raise PatchError(f"there is already a patch '{name}'; give the new one another name")
    for other, config in configs.items():
        if (
            None not in (channel, config.channel)
            and channel != config.channel
            and (name == config.channel or other == channel)
        ):
            raise PatchError(
                f"patch '{name}' of channel '{channel}' and patch '{other}' of channel "
                f"'{config.channel}' are not told apart; "
                "give the new one a name that is no channel"
            )
    return check_name(name)


def known_name(name: str | None, known: Collection[str]) -> str:
    """The name of a patch that exists; without a name, the only one.

    Raises:
        PatchError: If there is no such patch, or several and none is named.
    """
    if name is None and len(known) == 1:
        return next(iter(known))
    if name is None or name not in known:
        which = "say which patch" if name is None else f"there is no patch '{name}'"
        raise PatchError(f"{which}; loaded are: {', '.join(known) or 'none'}")
    return name


def adapter_config(config: PatchConfig, base: Base) -> LoraConfig | None:
    """The peft config that belongs into a patch's `lora/` folder; None for a patch without LoRA."""
    return None if config.lora is None else lora_config(config.lora, base.family, config.base.name)


def read_patch(folder: Path, base: Base) -> PatchFiles:
    """Read a patch folder and check all that can be checked before the base is touched.

    Raises:
        PatchError: If the folder is incomplete, damaged or unsafe, or the patch was made for
            another base.
    """

    def expected(config: PatchConfig) -> LoraConfig | None:
        check_base(
            folder, config, base
        )  # first, so that a foreign patch is called foreign and not inconsistent
        return adapter_config(config, base)

    files = read_folder(folder, expected)
    if files.config.fusion is not None:
        with torch.device(
            "meta"
        ):  # names and shapes alone: drawing nine million initial weights takes longer than reading
            wanted = Fusion(files.config.fusion).state_dict()
        check_tensors(files.fusion, wanted, str(folder / FUSION))
    return files


def check_base(folder: Path, config: PatchConfig, base: Base) -> None:
    """A patch fits a base when all facts of the fingerprint agree, and its fusion has the base's widths.

    Raises:
        PatchError: If they do not.
    """
    wanted, own = config.base.fingerprint, base.fingerprint()
    differ = sorted(key for key in set(wanted) | set(own) if wanted.get(key) != own.get(key))
    if differ:
        facts = ", ".join(
            f"{key} {wanted.get(key)!r} instead of {own.get(key)!r}" for key in differ[:3]
        )
        raise PatchError(
            f"{folder} was made for another base, {config.base.name} ({facts}); this one is "
            f"{base.name}"
        )
    fusion = config.fusion
    if fusion is None:
        return
    query = base.hidden_dim if fusion.query == "projected" else base.query_dim
    if (fusion.query_dim, fusion.out_dim) != (query, base.hidden_dim):
        raise PatchError(
            f"{folder}: the fusion's widths do not fit the base that patch.json names; the folder "
            "is inconsistent"
        )


def agree(config: PatchConfig, base: Base, taken: Collection[str]) -> None:
    """Feed the base as a patch was trained with; patches that share a base must agree on that.

    Raises:
        PatchError: If the patches already on the base want other inputs, or the base cannot be fed
            so.
    """
    if config.inputs == base.inputs:
        return
    if taken:
        differ = [key for key, value in config.inputs if value != getattr(base.inputs, key)]
        facts = ", ".join(
            f"{key} {getattr(config.inputs, key)!r} instead of {getattr(base.inputs, key)!r}"
            for key in differ
        )
        raise PatchError(
            f"the patch was trained with other inputs ({facts}) than {', '.join(taken)}, which is "
            "on the base already; "
            "patches work together only on one token layout and prompt"
        )
    try:
        base.use(config.inputs)
    except BaseError as error:
        raise PatchError(str(error)) from error


def write(folder: Path, files: PatchFiles, base: Base) -> PatchConfig:
    """Write a patch folder with its card; the config as written.

    Raises:
        PatchError: If the folder holds something else, or the weights hold a NaN.
    """
    title = folder.resolve().name
    return write_folder(
        folder, files, adapter_config(files.config, base), lambda written: make_card(written, title)
    )


def fill(
    fusions: nn.ModuleDict,
    lora: Mapping[str, nn.Parameter],
    name: str,
    files: PatchFiles,
    folder: Path,
) -> None:
    """Put the weights of a patch folder into the modules that were made for it.

    Raises:
        PatchError: If the LoRA's tensors are not those of the modules.
    """
    check_tensors(files.lora, lora, str(folder / LORA))
    if files.fusion:
        fusions[name].load_state_dict(files.fusion)
    copy_tensors(files.lora, lora)


def copy_tensors(source: Mapping[str, Tensor], target: Mapping[str, nn.Parameter]) -> None:
    """Put the values of tensors into parameters of the same names."""
    with torch.no_grad():
        for key, parameter in target.items():
            parameter.copy_(source[key])


def check_weights(weights: Mapping[str, float], known: Collection[str]) -> None:
    """Weights must be finite numbers for patches that exist.

    Raises:
        PatchError: If one is not.
    """
    for name, weight in weights.items():
        if name not in known:
            raise PatchError(
                f"there is no patch '{name}'; loaded are: {', '.join(known) or 'none'}"
            )
        if (
            isinstance(weight, bool)
            or not isinstance(weight, (int, float))
            or not math.isfinite(weight)
        ):
            raise PatchError(
                f"the weight of patch '{name}' must be a finite number, got {weight!r}"
            )
