"""The authors' configs by name: the fusion of each, its channels, and how every base was fed.

Their checkpoints do not say which config they need (heads and rotary positions are in no file), so
the caller names it. The names are the classes of the authors' code, with or without the prefix
`VideoFeatModelArguments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pave.bases import InputSpec
from pave.errors import ConfigError
from pave.fusion import FusionConfig
from pave.paper.features import FILE_KINDS
from pave.patches.config import reason

PREFIX = "VideoFeatModelArguments"

AUTHORS_INPUTS = InputSpec(newline="grid", chat="llava", resize="pillow", frames=32)
"""What every patch that the authors released was trained with."""

TWO_CHANNELS = ("frames", "audio")
"""What the two fusions of a checkpoint listen to, in the order of `pave.paper.weights.PARTS`."""

LARGE_DIM = 3584
"""Width of the 7B language model; the 0.5B one has 896."""

# What all of them share.
_COMMON: dict[str, Any] = {
    "side_dim": 1024,  # ImageBind, LanguageBind and LLaVA-3D features alike
    "query_dim": 1152,  # SigLIP, before the projector
    "out_dim": 896,
    "tie_kv": True,  # their value projection is the key projection
    "alignment": "groups",
}

# What differs from `_COMMON` and the fusion's defaults (two layers, no rotary positions).
_LARGE = {"out_dim": LARGE_DIM}
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

# Arguments of the authors' constructor with its defaults; None: required.
_ARGUMENTS: dict[str, Any] = {
    "input_dim": None,
    "output_dim": None,
    "embed_dim": None,
    # The convolutional input map: read and dropped, no released checkpoint has one.
    "fast_input_mapping_type": "conv",
    "number_of_input_mapping_layer": 5,
    "number_of_block_each_layer": [1, 2, 2, 2, 2],
    "sptial_stride": [1, 1, 1, 1, 1],  # spelt so in their code
    "dim_scaling": [1, 1, 1, 1, 1],
    # The queries: the video's own tokens ("slow_feat"), or learnt ones.
    "query_type": "slow_feat",
    "chunks_number": 32,
    "number_of_query": 196,
    "query_input_dim": 896,
    "use_slow_feat_before_mlp": False,
    # The cross-attention blocks and what comes out of them.
    "cross_attn_hidden_dim": 512,
    "num_cross_attn_head": 4,
    "num_cross_attn_layer": 1,
    "use_3d_rope": True,
    "use_output_mlp": True,
    "mlp_depth": 2,
    "use_output_norm": False,
    "use_dropout": True,
    "dropout_rate": 0.1,
    "train_addition_start_end_tokens": False,
}
_REQUIRED = ("input_dim", "output_dim", "embed_dim")
TYPES = ("pmv5", "ssmv5")
"""What their files call the aggregator; the later name means the same module."""


def list_configs() -> list[str]:
    """Names that `fusion_config` knows, without the common prefix."""
    return sorted(_CONFIGS)


def fusion_config(name_or_kwargs: str | Mapping[str, Any]) -> FusionConfig:
    """The fusion function of one of the authors' configs.

    Args:
        name_or_kwargs: A class name of the authors' code (`VideoFeatModelArgumentsV5_1_3_7B` or
            `V5_1_3_7B`), or the keyword arguments of their aggregator's constructor (missing ones
            take its defaults). A mapping with the keys `temporal_aggregator_type` ("pmv5", or
            "ssmv5" in later files; the same module) and `kwargs` is read, too.

    Raises:
        ConfigError: If the name or an argument is unknown, or the arguments describe what no
            released checkpoint uses (the convolutional input map).

    Example:
        >>> fusion_config("V5_1_3_audio_languagebind_7B").layers
        2
    """
    if not isinstance(name_or_kwargs, str):
        if not isinstance(name_or_kwargs, Mapping):
            raise ConfigError(
                "an official fusion is given by its name or its arguments, got "
                f"{type(name_or_kwargs).__name__}"
            )
        return _of_arguments(_arguments(name_or_kwargs))
    short = name_or_kwargs.removeprefix(PREFIX)
    if short not in _CONFIGS:
        raise ConfigError(
            f"there is no official fusion config {name_or_kwargs!r}; known: "
            f"{', '.join(list_configs())}"
        )
    return FusionConfig(**{**_COMMON, **_CONFIGS[short]})


def title_of(name_or_kwargs: str | Mapping[str, Any]) -> str:
    """What messages call a config: its name without the prefix, or that it is none of the named.

    Example:
        >>> title_of("VideoFeatModelArgumentsV5_1_3_7B")
        'V5_1_3_7B'
    """
    if isinstance(name_or_kwargs, str):
        return name_or_kwargs.removeprefix(PREFIX)
    return "custom arguments"


def has_two_channels(title: str) -> bool:
    """Whether a config's name promises two fusions, one for frames and one for sound."""
    return "multi_side" in title


def channel_of(title: str) -> str:
    """The channel that the name of a config with one fusion speaks of.

    Raises:
        ConfigError: If it speaks of none.

    Example:
        >>> channel_of("V5_1_3_egoexo_7B")
        'views'
    """
    if "audio" in title:
        return "audio"
    if "egoexo" in title:
        return "views"
    if "3d" in title:
        return "scene3d"
    if title.startswith("V5"):
        return "frames"
    known = ", ".join(FILE_KINDS)
    raise ConfigError(
        f"{title} do not say what the side channel is; name it with --channel: {known}"
    )


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of their constructor, checked."""
    kwargs = dict(given)
    aggregator = kwargs.pop("temporal_aggregator_type", TYPES[0])
    if aggregator not in TYPES:
        raise ConfigError(
            f"temporal_aggregator_type {aggregator!r} is not supported; known: {', '.join(TYPES)}"
        )
    inner = kwargs.get("kwargs", kwargs)
    if not isinstance(inner, Mapping):
        raise ConfigError(
            f"kwargs of an official fusion must be a mapping of arguments, got {inner!r}"
        )
    kwargs = dict(inner)
    # As text: YAML has keys that are numbers.
    unknown = sorted(map(str, set(kwargs) - set(_ARGUMENTS)))
    if unknown:
        raise ConfigError(f"unknown arguments of an official fusion: {', '.join(unknown)}")
    arguments = {**_ARGUMENTS, **kwargs}
    if arguments["fast_input_mapping_type"] != "linear":
        raise ConfigError(
            "only fast_input_mapping_type='linear' is supported: no released checkpoint maps its "
            "input otherwise"
        )
    missing = [key for key in _REQUIRED if arguments[key] is None]
    if missing:
        raise ConfigError(f"arguments of an official fusion are missing: {', '.join(missing)}")
    if arguments["query_type"] not in ("slow_feat", "learnable"):
        raise ConfigError(
            f"query_type must be 'slow_feat' or 'learnable', got {arguments['query_type']!r}"
        )
    for name in ("cross_attn_hidden_dim", "mlp_depth"):  # which are reckoned with before any check
        if not isinstance(arguments[name], int):
            raise ConfigError(
                f"arguments of an official fusion: {name} must be a whole number, got "
                f"{arguments[name]!r}"
            )
    return arguments


def _of_arguments(arguments: Mapping[str, Any]) -> FusionConfig:
    """The fusion that their constructor builds of these arguments."""
    hidden = arguments["cross_attn_hidden_dim"]
    built: dict[str, Any] = {
        "side_dim": arguments["input_dim"],
        "query_dim": arguments["query_input_dim"],
        "out_dim": arguments["output_dim"],
        "hidden": hidden,
        "heads": arguments["num_cross_attn_head"],
        "layers": arguments["num_cross_attn_layer"],
        "tie_kv": True,
        "alignment": "groups",
        "rope": None,
        "dropout": 0.0,
        "output_norm": arguments["use_output_norm"],
        "output_layers": 0,
        "start_end_tokens": arguments["train_addition_start_end_tokens"],
        "query": "projected",
    }
    if arguments["embed_dim"] != hidden:
        built["memory"] = arguments["embed_dim"]
    if arguments["use_3d_rope"]:
        built["rope"] = "3d"
    if arguments["use_dropout"]:
        built["dropout"] = arguments["dropout_rate"]
    if arguments["use_output_mlp"]:
        built["output_layers"] = max(1, arguments["mlp_depth"])
    if built["output_layers"] == 1 and not built["output_norm"]:
        # With one layer and no norm the authors' module ignores output_dim and returns twice the
        # hidden width.
        built["out_dim"] = 2 * hidden
    if arguments["query_type"] == "learnable":
        built["learnable_query"] = (arguments["chunks_number"], arguments["number_of_query"])
    if arguments["use_slow_feat_before_mlp"]:
        built["query"] = "pre_projector"
    try:
        return FusionConfig(**built)
    except ValidationError as error:
        raise ConfigError(f"arguments of an official fusion: {reason(error)}") from error
