"""Reader of the PAVE authors' released weights: their configs by name, their state dicts, their feature files.

Their checkpoints do not say which config they need (heads and rotary positions are in no file), so the caller names it. The
names are the classes of the authors' code, with or without the prefix `VideoFeatModelArguments`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from pave.errors import ChannelError, ConfigError, PatchError
from pave.fusion import Fusion, FusionConfig

PREFIX = "VideoFeatModelArguments"
FILES = ("non_lora_trainables.bin", "mm_projector.bin")

# What differs from (side_dim=1024, out_dim=896, layers=2, no rotary positions).
_LARGE = {"out_dim": 3584}
_CONFIGS: dict[str, dict[str, Any]] = {
    "V5_1_2": {"rope": "3d"},
    "V5_1_3": {},
    "V5_1_3_7B": _LARGE,
    "V5_1_3_3d": {},
    "V5_1_3_3d_7B": _LARGE,
    "V5_1_3_audio": {"side_dim": 768},
    "V5_1_3_audio_7B": {"side_dim": 768, **_LARGE},
    "V5_1_3_audio_7B_3layers": {"side_dim": 768, "layers": 3, **_LARGE},
    "V5_1_3_audio_languagebind": {},
    "V5_1_3_audio_languagebind_7B": _LARGE,
    "V5_1_3_audio_languagebind_3layers": {"layers": 3},
    "V5_1_3_audio_languagebind_7B_3layers": {"layers": 3, **_LARGE},
    "V5_1_3_egoexo": {"side_dim": 1152},
    "V5_1_3_egoexo_7B": {"side_dim": 1152, **_LARGE},
    # Two aggregators of the same shape: read each with `load_fusion(..., part=...)`.
    "V5_1_3_multi_side_audio_languagebind_7B": _LARGE,
}
_CONFIGS["default"] = _CONFIGS["V5_1_3"]

# Arguments of the authors' constructor with its defaults; None: required. Those of the convolutional map are read and dropped.
_ARGUMENTS: dict[str, Any] = {
    "input_dim": None,
    "output_dim": None,
    "embed_dim": None,
    "fast_input_mapping_type": "conv",
    "number_of_input_mapping_layer": 5,
    "number_of_block_each_layer": [1, 2, 2, 2, 2],
    "sptial_stride": [1, 1, 1, 1, 1],
    "dim_scaling": [1, 1, 1, 1, 1],
    "query_type": "slow_feat",
    "chunks_number": 32,
    "number_of_query": 196,
    "query_input_dim": 896,
    "cross_attn_hidden_dim": 512,
    "num_cross_attn_head": 4,
    "num_cross_attn_layer": 1,
    "use_3d_rope": True,
    "use_output_mlp": True,
    "use_dropout": True,
    "dropout_rate": 0.1,
    "use_output_norm": False,
    "train_addition_start_end_tokens": False,
    "mlp_depth": 2,
    "use_slow_feat_before_mlp": False,
}
_TYPES = ("pmv5", "ssmv5")

# Our parameter names -> theirs.
_NAMES = (
    (r"^side_map\.", "input_mapping."),
    (r"^query_map\.", "query_input_mapping."),
    (r"^learnt_query$", "learnable_query"),
    (r"^blocks\.(\d+)\.attention\.([qkv])\w+\.", r"cross_attn_layers.\1.attn.\2_linear."),
    (r"^blocks\.(\d+)\.mlp\.", r"cross_attn_layers.\1.ffn."),
    (r"^output\.", "output_mapping."),
    (r"^norm\.", "output_norm."),
    (r"^markers$", "start_end_tokens"),
)


def list_configs() -> list[str]:
    """Names that `fusion_config` knows, without the common prefix."""
    return sorted(_CONFIGS)


def fusion_config(name_or_kwargs: str | Mapping[str, Any]) -> FusionConfig:
    """The fusion function of one of the authors' configs.

    Args:
        name_or_kwargs: A class name of the authors' code (`VideoFeatModelArgumentsV5_1_3_7B` or `V5_1_3_7B`), or the keyword
            arguments of their aggregator's constructor (missing ones take its defaults). A mapping with the keys
            `temporal_aggregator_type` ("pmv5", or "ssmv5" in later files; the same module) and `kwargs` is read, too.

    Raises:
        ConfigError: If the name or an argument is unknown, or the arguments describe what no released checkpoint uses
            (the convolutional input map).

    Example:
        >>> fusion_config("V5_1_3_audio_languagebind_7B").parameters()
        8996352
    """
    if not isinstance(name_or_kwargs, str):
        return _from_kwargs(name_or_kwargs)
    short = name_or_kwargs.removeprefix(PREFIX)
    if short not in _CONFIGS:
        raise ConfigError(f"no official fusion config is called {name_or_kwargs!r}; known: {', '.join(list_configs())}")
    common = {"side_dim": 1024, "query_dim": 1152, "out_dim": 896, "tie_kv": True, "alignment": "groups"}
    return FusionConfig(**{**common, **_CONFIGS[short]})


def _from_kwargs(given: Mapping[str, Any]) -> FusionConfig:
    kwargs = dict(given)
    kind = kwargs.pop("temporal_aggregator_type", _TYPES[0])
    if kind not in _TYPES:
        raise ConfigError(f"temporal_aggregator_type {kind!r} is not supported; known: {', '.join(_TYPES)}")
    kwargs = dict(kwargs.get("kwargs", kwargs))
    unknown = sorted(set(kwargs) - set(_ARGUMENTS))
    if unknown:
        raise ConfigError(f"unknown arguments of an official fusion: {', '.join(unknown)}")
    args = {**_ARGUMENTS, **kwargs}
    missing = [key for key in ("input_dim", "output_dim", "embed_dim") if args[key] is None]
    if args["fast_input_mapping_type"] != "linear":
        raise ConfigError("only fast_input_mapping_type='linear' is supported: no released checkpoint maps its input otherwise")
    if missing:
        raise ConfigError(f"arguments of an official fusion are missing: {', '.join(missing)}")
    if args["query_type"] not in ("slow_feat", "learnable"):
        raise ConfigError(f"query_type must be 'slow_feat' or 'learnable', got {args['query_type']!r}")
    depth = max(1, args["mlp_depth"]) if args["use_output_mlp"] else 0
    # With one layer and no norm the authors' module ignores output_dim and returns twice the hidden width.
    free = depth == 1 and not args["use_output_norm"]
    learnt = args["query_type"] == "learnable"
    return FusionConfig(
        side_dim=args["input_dim"],
        query_dim=args["query_input_dim"],
        out_dim=2 * args["cross_attn_hidden_dim"] if free else args["output_dim"],
        hidden=args["cross_attn_hidden_dim"],
        memory=None if args["embed_dim"] == args["cross_attn_hidden_dim"] else args["embed_dim"],
        heads=args["num_cross_attn_head"],
        layers=args["num_cross_attn_layer"],
        rope="3d" if args["use_3d_rope"] else None,
        tie_kv=True,
        alignment="groups",
        dropout=args["dropout_rate"] if args["use_dropout"] else 0.0,
        output_norm=args["use_output_norm"],
        output_layers=depth,
        learnable_query=(args["chunks_number"], args["number_of_query"]) if learnt else None,
        start_end_tokens=args["train_addition_start_end_tokens"],
        query="pre_projector" if args["use_slow_feat_before_mlp"] else "projected",
    )


def load_fusion(
    source: Mapping[str, Tensor] | str | Path,
    config: FusionConfig,
    part: Literal["temporal_aggregator", "temporal_aggregator2"] = "temporal_aggregator",
) -> Fusion:
    """A fusion with the authors' weights, in float32 (their evaluation copies bf16 weights into a float32 module, too).

    Args:
        source: A state dict, or the path of `non_lora_trainables.bin`, `mm_projector.bin` or a folder with one of them. Keys
            may have any of the authors' prefixes, or none. Keys of other modules are passed over.
        config: From `fusion_config`.
        part: Which aggregator, in checkpoints with two side channels.

    Raises:
        PatchError: If the file cannot be read safely, holds no such aggregator, or a tensor is missing, unexpected, of the
            wrong shape or not finite. (The authors' loader passes over all of these in silence.)
    """
    state = _read(Path(source)) if isinstance(source, str | Path) else source
    where = str(source) if isinstance(source, str | Path) else "the state dict"
    found = _select(state, part)
    if not found:
        raise PatchError(f"{where} holds no {part!r}; its keys begin with {', '.join(map(str, list(state)[:3])) or 'nothing'}")
    fusion = Fusion(config)
    expected = {official_name(name): (name, tuple(tensor.shape)) for name, tensor in fusion.state_dict().items()}
    problems = [f"missing {key}" for key in expected if key not in found]
    problems += [f"unexpected {key}" for key in found if key not in expected]
    for key, (_, shape) in expected.items():
        if key in found:
            problems += _faults(key, found[key], shape)
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise PatchError(f"{where} does not fit the config: {'; '.join(problems[:8])}{more}. Was it made with another config?")
    fusion.load_state_dict({name: found[key].float() for key, (name, _) in expected.items()}, strict=True)
    return fusion


def official_name(name: str) -> str:
    """The authors' name of one of `Fusion`'s parameters, without prefix.

    Example:
        >>> official_name("blocks.1.attention.key.weight")
        'cross_attn_layers.1.attn.k_linear.weight'
    """
    for ours, theirs in _NAMES:
        renamed, hits = re.subn(ours, theirs, name)
        if hits:
            return renamed
    raise PatchError(f"the fusion parameter {name!r} has no counterpart in the authors' files")


def _read(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a file, never by running pickled code."""
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    if not path.is_file():
        raise PatchError(f"{path} is missing; an official checkpoint has {' or '.join(FILES)}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise PatchError(f"{path} cannot be read as a plain file of tensors: {str(error).splitlines()[0]}") from error
    if not isinstance(state, Mapping):
        raise PatchError(f"{path} holds a {type(state).__name__}, not a dictionary of tensors")
    return state


def _select(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """One aggregator's tensors by their names inside it. Note that one part's name begins like the other's."""
    prefix = re.compile(rf"^(?:base_model\.)?(?:model\.)*{part}\.")
    found = {prefix.sub("", key): value for key, value in state.items() if prefix.match(key)}
    if not found and any(key.startswith(("input_mapping.", "cross_attn_layers.")) for key in state):
        return dict(state)
    return found


def _faults(key: str, tensor: Any, shape: Sequence[int]) -> list[str]:
    """What is wrong with one tensor."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return [f"{key} is no tensor of floats"]
    if tuple(tensor.shape) != tuple(shape):
        return [f"{key} has shape {list(tensor.shape)}, the config needs {list(shape)}"]
    return [] if bool(torch.isfinite(tensor).all()) else [f"{key} holds NaN or infinity"]


Kind = Literal["audio", "languagebind", "3d_feature", "exo"]


def side_from_disk(
    tensor: Tensor, kind: Kind, *, exclude_cls: bool | None = None, vhw: tuple[int, int, int] = (32, 24, 24)
) -> Tensor:
    """Side tokens `[T, S, C]` from a feature file of the authors' data sets.

    Args:
        tensor: What the file holds: for "audio" `[T, C]`, or `[W, N, C]` whose W windows of N tokens follow one another in time
            (`[W * N, 1, C]` results); for "languagebind" `[T, S, C]` with or without a class token before the square grid; for
            "3d_feature" `[1, V * H * W, C]`; for "exo" `[cameras, T, S, C]` (step t of all cameras comes before step t + 1).
        kind: The authors' `fast_feat_type`.
        exclude_cls: Drop the class token of "languagebind"; None: drop it if what remains is a square grid.
        vhw: Views, height and width of "3d_feature".

    Raises:
        ChannelError: If the shape does not fit the kind.
    """
    shape = list(tensor.shape)
    tensor = tensor.detach()
    if kind == "audio" and tensor.dim() in (2, 3):
        return tensor.reshape(-1, 1, shape[-1])
    if kind == "languagebind" and tensor.dim() == 3:
        drop = shape[1] > 1 and math.isqrt(shape[1] - 1) ** 2 == shape[1] - 1 if exclude_cls is None else exclude_cls
        return tensor[:, 1:] if drop else tensor
    if kind == "3d_feature" and tensor.dim() == 3 and shape[0] == 1:
        if shape[1] != math.prod(vhw):
            raise ChannelError(
                f"a 3d_feature of {shape[1]} tokens is not {' x '.join(map(str, vhw))}; pass its own vhw=(V, H, W)"
            )
        return tensor.view(vhw[0], vhw[1] * vhw[2], shape[2])
    if kind == "exo" and tensor.dim() == 4:
        return tensor.transpose(0, 1).flatten(0, 1)
    raise ChannelError(f"no side feature of kind {kind!r} has the shape {shape}; kinds: audio, languagebind, 3d_feature, exo")


def side_from_batch(features: Tensor, frames: Sequence[int] | Tensor) -> list[Tensor]:
    """Side tokens `[T, S, C]` of each clip from the authors' padded batch `[B, C, T, H, W]` and its true lengths `[B]`."""
    return [clip[:, : int(n)].flatten(2).permute(1, 2, 0) for clip, n in zip(features, frames, strict=True)]
