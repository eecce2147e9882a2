"""`convert`: one of the authors' checkpoints -> a patch folder, two for two side channels.

A checkpoint's name does not say which config it needs, and some mislead (the zips of Ego-Exo4D say
"3d"), so the caller names the config and what does not fit is refused with the names of those that
would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pave.arguments import as_kind
from pave.bases import Base, InputSpec
from pave.channels import make_encoder
from pave.errors import ConfigError, PatchError
from pave.files import as_path, entries_of
from pave.fusion import FusionConfig
from pave.fusion_costs import fusion_parameters
from pave.paper.adapter import UNPACK, first_of, read_adapter
from pave.paper.configs import (
    AUTHORS_INPUTS,
    TWO_CHANNELS,
    TYPES,
    channel_of,
    fusion_config,
    has_two_channels,
    list_configs,
    title_of,
)
from pave.paper.features import FILE_KINDS
from pave.paper.weights import (
    FILES,
    PARTS,
    Part,
    first_file,
    first_keys,
    load_fusion,
    misfits,
    read_state,
    select,
)
from pave.patches.config import BaseId, EncoderSpec, PatchConfig
from pave.patches.folder import PatchFiles, write_folder
from pave.texts import read_object
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


@dataclass(frozen=True)
class _Checkpoint:
    """One of the authors' checkpoints, opened.

    Attributes:
        source: What the caller named.
        folder: Where its files lie.
        fusions: The tensors of each of its one or two fusions, by their names inside it.
    """

    source: Path
    folder: Path
    fusions: Mapping[Part, Mapping[str, Tensor]]


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
        >>> config = "V5_1_3_audio_languagebind"
        >>> convert("pave_v5_1_3_lora_avsd_imagebind", base, config, "avsd")  # doctest: +SKIP
    """
    # 1. Open it, and find the config that its tensors fit.
    checkpoint = _open(as_path(source, PatchError, "a checkpoint"))
    as_kind(base, Base, "the base is what load_base gives")
    out = as_path(out, PatchError, "a patch folder")
    if model_args is None:
        raise ConfigError(
            f"name the authors' config that {source} was made with (--model-args); "
            f"{_candidates(checkpoint.fusions)}"
        )
    title = title_of(model_args)
    config = fusion_config(model_args)
    _check_fit(checkpoint, config, title)
    _check_base(checkpoint, config, base)
    # 2. Read what else the folder holds.
    inputs = _read_inputs(checkpoint.folder)
    lora, adapter = read_adapter(checkpoint.folder, base)
    channels = _channels(checkpoint, title, channel)
    # 3. Write a patch for each fusion.
    last = list(channels)[-1]
    done = []
    for part, name in channels.items():
        # The one LoRA was trained with both fusions at work, so it comes with the second.
        own_lora, own_adapter = (lora, adapter) if part == last else (None, {})
        place = Path(out) / name if len(channels) > 1 else Path(out)
        patch = PatchConfig(
            pave_version=__version__,
            base=BaseId(
                name=base.name,
                revision=base.revision,  # where it came from the Hub
                fingerprint=base.fingerprint(),
            ),
            inputs=inputs,
            channel=name,
            encoder=_encoder_spec(name, config),
            fusion=config,
            lora=own_lora,
            training={
                "converted_from": checkpoint.folder.resolve().name,
                "model_args": title,
                "module": part,
            },
        )
        weights = load_fusion(checkpoint.fusions[part], config, part).state_dict()
        done.append(_write(place, PatchFiles(patch, weights, own_adapter), base))
    return done


def _open(source: Path) -> _Checkpoint:
    """The checkpoint that a path names, or that lies alone in a folder around it."""
    if source.suffix == ".zip":
        raise PatchError(f"{source} is an archive; unpack it and give the folder")
    place = source
    # A zip unpacked into a folder of its own leaves the checkpoint one level down.
    if source.is_dir() and first_file(source, FILES) is None:
        inner = [path for path in entries_of(source) if path.is_dir()]
        if len(inner) == 1:
            place = inner[0]
    state = read_state(place)
    fusions: dict[Part, Mapping[str, Tensor]] = {}
    for part in _parts(state):
        tensors = select(state, part)
        if tensors:
            fusions[part] = tensors
    if not fusions:
        raise PatchError(f"{source} holds no fusion; its keys begin with {first_keys(state)}")
    folder = place.parent if place.is_file() else place
    return _Checkpoint(source, folder, fusions)


def _parts(state: Mapping[str, Tensor]) -> tuple[Part, ...]:
    """The aggregators that a state dict speaks of."""
    # Asked in this order because "temporal_aggregator" is part of the other's name.
    for key in state:
        if PARTS[1] in key:
            return PARTS
    return PARTS[:1]


def _check_fit(checkpoint: _Checkpoint, config: FusionConfig, title: str) -> None:
    """Every fusion of the checkpoint must have the names and shapes of the config."""
    fusions, source = checkpoint.fusions, checkpoint.source
    if has_two_channels(title) and len(fusions) < len(PARTS):
        raise PatchError(
            f"{source} has one side channel but {title} has two; {_candidates(fusions)}"
        )
    for part, tensors in fusions.items():
        problems = misfits(tensors, config)
        if problems:
            raise PatchError(
                f"{source} does not fit {title}: {part}: {first_of(problems)}; "
                f"{_candidates(fusions)}"
            )


def _check_base(checkpoint: _Checkpoint, config: FusionConfig, base: Base) -> None:
    """The fusion must have the widths of the base."""
    if (config.query_dim, config.out_dim) == (base.query_dim, base.hidden_dim):
        return
    raise PatchError(
        f"{checkpoint.source} is for a base of widths {config.query_dim} and {config.out_dim}, "
        f"but {base.name} has {base.query_dim} and {base.hidden_dim}; give the base that it was "
        "trained on"
    )


def _candidates(fusions: Mapping[Part, Mapping[str, Tensor]]) -> str:
    """The configs whose tensors have these names and shapes, in words."""
    fits = []
    for name in list_configs():
        # "default" is another name of V5_1_3.
        if name == "default" or has_two_channels(name) != (len(fusions) > 1):
            continue
        config = fusion_config(name)
        if not any(misfits(tensors, config) for tensors in fusions.values()):
            fits.append(name)
    if not fits:
        return "no official config fits; give the arguments of the fusion's constructor"
    return f"configs that would fit: {', '.join(fits)}"


def _channels(checkpoint: _Checkpoint, title: str, channel: str | None) -> dict[Part, str]:
    """Which channel each fusion reads: as the caller says, or as the config's name does."""
    if channel is not None and channel not in FILE_KINDS:
        raise ConfigError(
            f"there are no official features for the channel {channel!r}; known: "
            f"{', '.join(FILE_KINDS)}"
        )
    # One fusion says nothing of its channel in the file; of two, each has its fixed one.
    if len(checkpoint.fusions) == 1:
        return dict.fromkeys(checkpoint.fusions, channel or channel_of(title))
    if channel is not None:
        raise ConfigError(
            "a checkpoint with two side channels always has frames and audio; leave the channel out"
        )
    return dict(zip(PARTS, TWO_CHANNELS, strict=True))


def _read_inputs(folder: Path) -> InputSpec:
    """How the checkpoint's base was fed: as all released ones, unless its config.json differs."""
    path = folder / "config.json"
    if not path.is_file():
        return AUTHORS_INPUTS
    found = read_object(path, PatchError, UNPACK)
    # Concatenated or interleaved side tokens would lengthen the prompt, which a patch never does.
    combine = found.get("feat_combine_method", "add")
    if combine != "add":
        raise PatchError(
            f"{path}: feat_combine_method {combine!r} changes the number of tokens; only 'add' "
            "can become a patch"
        )
    aggregator = found.get("temporal_aggregator_type", TYPES[0])
    if aggregator not in TYPES:
        raise PatchError(
            f"{path}: temporal_aggregator_type {aggregator!r} is not supported; known: "
            f"{', '.join(TYPES)}"
        )
    inputs = AUTHORS_INPUTS.model_dump()
    for ours, theirs in (("newline", "mm_newline_position"), ("pool", "mm_spatial_pool_mode")):
        if found.get(theirs):
            inputs[ours] = found[theirs]
    try:
        return InputSpec.model_validate(inputs)
    except ValueError as error:
        raise PatchError(
            f"{path}: mm_newline_position or mm_spatial_pool_mode is not supported: "
            f"{inputs['newline']!r}, {inputs['pool']!r}"
        ) from error


def _encoder_spec(channel: str, config: FusionConfig) -> EncoderSpec:
    """The reader of the authors' feature files, as a patch names it."""
    encoder = make_encoder(channel, "official", {"dim": config.side_dim})
    return EncoderSpec(name=encoder.name, settings=dict(encoder.settings))


def _write(place: Path, files: PatchFiles, base: Base) -> Converted:
    """Write one patch folder with its card."""
    write_folder(place, files, base)
    assert files.config.fusion is not None and files.config.channel is not None
    return Converted(
        folder=place,
        channel=files.config.channel,
        fusion_parameters=fusion_parameters(files.config.fusion),
        lora_parameters=sum(tensor.numel() for tensor in files.lora.values()),
    )
