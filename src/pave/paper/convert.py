"""`convert`: one of the authors' released checkpoints -> a patch folder (two for two side channels).

A checkpoint has its fusion weights in `non_lora_trainables.bin` (with a LoRA beside it) or in
`mm_projector.bin` (without). Its name does not say which config it needs, and some mislead (the
zips of Ego-Exo4D say "3d"), so the caller names the config and what does not fit is refused with
the names of those that would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from pave.bases import AUTHORS, Base, InputSpec
from pave.channels import make_encoder
from pave.errors import ConfigError, PatchError
from pave.fusion import FusionConfig
from pave.paper.adapter import read_adapter
from pave.paper.configs import PREFIX, TYPES, fusion_config, list_configs
from pave.paper.features import KINDS
from pave.paper.weights import (
    FILES,
    PARTS,
    Part,
    load_fusion,
    misfits,
    read_state,
    select,
)
from pave.patches.config import BaseId, EncoderSpec, LoraSpec, PatchConfig
from pave.patches.folder import PatchFiles, write_folder
from pave.version import __version__


@dataclass(frozen=True)
class Converted:
    """One patch that came out.

    Attributes:
        folder: The patch folder.
        channel: What it listens to.
        fusion_parameters: Parameters of the fusion, the authors' idle ones included.
        lora_parameters: Parameters of the LoRA; 0 without one.
    """

    folder: Path
    channel: str
    fusion_parameters: int
    lora_parameters: int


def convert(
    source: str | Path,
    base: Base,
    model_args: str | Mapping[str, Any] | None,
    out: str | Path,
    channel: str | None = None,
) -> list[Converted]:
    """Convert a checkpoint folder of the authors.

    Args:
        source: The unpacked folder, or one of their weight files.
        base: The base it was trained on, from `load_base`; `weights=False` is enough.
        model_args: The authors' config: a class name such as "V5_1_3_audio_languagebind_7B", or
            keyword arguments of their aggregator's constructor.
        out: The patch folder. With two side channels it gets two of them, `frames` and `audio`; the
            LoRA, which was trained with both, is in the second.
        channel: "audio", "frames", "scene3d" or "views", where the config's name does not say it.

    Returns:
        What was written.

    Raises:
        ConfigError: If the config is unknown.
        PatchError: If the checkpoint is incomplete, does not fit the config (the message names
            those it fits), or does not fit the base.

    Example:
        >>> convert("pave_v5_1_3_lora_avsd_imagebind", base, "V5_1_3_audio_languagebind", "avsd")  # doctest: +SKIP
    """
    folder, state = _open(Path(source))
    parts = PARTS if any(PARTS[1] in key for key in state) else PARTS[:1]
    found = {part: tensors for part in parts if (tensors := select(state, part))}
    if not found:
        raise PatchError(
            f"{source} holds no fusion; its keys begin with "
            f"{', '.join(list(state)[:3]) or 'nothing'}"
        )
    if model_args is None:
        raise ConfigError(
            f"say which of the authors' configs {source} was made with; {_candidates(found)}"
        )
    config = fusion_config(model_args)
    _check_fit(found, config, model_args, source)
    if (config.query_dim, config.out_dim) != (base.query_dim, base.hidden_dim):
        raise PatchError(
            f"{source} is for a base of widths {config.query_dim} and {config.out_dim}, but "
            f"{base.name} has "
            f"{base.query_dim} and {base.hidden_dim}; name the base it was trained on"
        )
    inputs = _inputs(folder)
    lora, adapter = read_adapter(folder, base)
    target = Path(out)
    channels = _channels(found, model_args, channel)
    done = []
    for part, name in channels.items():
        last = part == list(channels)[-1]
        place = target / name if len(channels) > 1 else target
        training = {
            "converted_from": folder.resolve().name,
            "model_args": _title(model_args),
            "module": part,
        }
        patch = _config(base, config, name, inputs, lora if last else None, training)
        files = PatchFiles(
            patch, load_fusion(state, config, part).state_dict(), adapter if last else {}
        )
        write_folder(
            place, files, adapter_config(patch, base), partial(make_card, name=place.resolve().name)
        )
        done.append(
            Converted(place, name, config.parameters(), sum(t.numel() for t in files.lora.values()))
        )
    return done


def _open(source: Path) -> tuple[Path, Mapping[str, Tensor]]:
    """The checkpoint's folder and its fusion weights; a folder around the checkpoint's own is looked through."""
    if source.suffix == ".zip":
        raise PatchError(f"{source} is packed; unpack it and name the folder")
    if source.is_file():
        return source.parent, read_state(source)
    inner = [path for path in source.iterdir() if path.is_dir()] if source.is_dir() else []
    if len(inner) == 1 and not any((source / name).is_file() for name in FILES):
        source = inner[0]
    return source, read_state(source)


def _check_fit(
    found: Mapping[Part, Mapping[str, Tensor]], config: FusionConfig, model_args: Any, source: Any
) -> None:
    title = _title(model_args)
    if "multi_side" in title and len(found) < len(PARTS):
        raise PatchError(f"{source} has one side channel but {title} has two; {_candidates(found)}")
    for part, tensors in found.items():
        problems = misfits(tensors, config)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise PatchError(
                f"{source} does not fit {title}: {part}: {problems[0]}{more}; {_candidates(found)}"
            )


def _candidates(found: Mapping[Part, Mapping[str, Tensor]]) -> str:
    """The configs whose tensors have these names and shapes, in words."""
    names = [
        name
        for name in list_configs()
        if ("multi_side" in name) == (len(found) > 1) and name != "default"
    ]
    fits = [
        name
        for name in names
        if all(not misfits(tensors, fusion_config(name)) for tensors in found.values())
    ]
    return (
        f"configs that would fit: {', '.join(fits)}"
        if fits
        else "no official config fits; give the constructor's arguments"
    )


def _title(model_args: str | Mapping[str, Any]) -> str:
    return model_args.removeprefix(PREFIX) if isinstance(model_args, str) else "custom arguments"


def _channels(
    found: Mapping[Part, Any], model_args: str | Mapping[str, Any], channel: str | None
) -> dict[Part, str]:
    """Which sense each fusion listens to."""
    if channel is not None and channel not in KINDS:
        raise ConfigError(
            f"no official features are of the channel {channel!r}; known: {', '.join(KINDS)}"
        )
    if len(found) > 1:
        if channel is not None:
            raise ConfigError(
                "a checkpoint with two side channels listens to frames and audio; leave the "
                "channel out"
            )
        return dict(zip(PARTS, ("frames", "audio"), strict=True))
    return dict.fromkeys(found, channel or channel_of(_title(model_args)))


def channel_of(title: str) -> str:
    """The channel that a config's name speaks of.

    Raises:
        ConfigError: If it speaks of none.
    """
    if "audio" in title:
        return "audio"
    if "egoexo" in title:
        return "views"
    if "3d" in title:
        return "scene3d"
    if title.startswith("V5"):
        return "frames"
    raise ConfigError(f"{title} do not say what the side channel is; name it: {', '.join(KINDS)}")


def _inputs(folder: Path) -> InputSpec:
    """How the checkpoint's base was fed: as all released ones, except where its config.json says otherwise."""
    path = folder / "config.json"
    if not path.is_file():
        return AUTHORS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PatchError(
            f"{path} is no valid JSON ({error}); unpack the checkpoint again"
        ) from error
    combine, kind = (
        found.get("feat_combine_method", "add"),
        found.get("temporal_aggregator_type", TYPES[0]),
    )
    if combine != "add":
        raise PatchError(
            f"{path}: feat_combine_method {combine!r} changes the number of tokens; only 'add' "
            "makes a patch"
        )
    if kind not in TYPES:
        raise PatchError(
            f"{path}: temporal_aggregator_type {kind!r} is not supported; known: {', '.join(TYPES)}"
        )
    given = {"newline": found.get("mm_newline_position"), "pool": found.get("mm_spatial_pool_mode")}
    try:
        return InputSpec.model_validate(
            {**AUTHORS.model_dump(), **{key: value for key, value in given.items() if value}}
        )
    except ValueError as error:
        raise PatchError(
            f"{path}: mm_newline_position or mm_spatial_pool_mode is not supported: {given}"
        ) from error


def _config(
    base: Base,
    fusion: FusionConfig,
    channel: str,
    inputs: InputSpec,
    lora: LoraSpec | None,
    training: dict[str, Any],
) -> PatchConfig:
    encoder = make_encoder(channel, "official", {"dim": fusion.side_dim})
    return PatchConfig(
        pave_version=__version__,
        base=BaseId(name=base.name, fingerprint=base.fingerprint()),
        inputs=inputs,
        channel=channel,
        encoder=EncoderSpec(name=encoder.name, settings=dict(encoder.settings)),
        fusion=fusion,
        lora=lora,
        training=training,
    )
