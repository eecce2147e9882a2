"""The authors' fusion configs by name.

Their checkpoints do not say which config they need (heads and rotary positions are in no file), so
the caller names it. The names are the classes of the authors' code, with or without the prefix
`VideoFeatModelArguments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pave.errors import ConfigError
from pave.fusion import FusionConfig

PREFIX = "VideoFeatModelArguments"

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

# Arguments of the authors' constructor with its defaults; None: required. Those of the
# convolutional map are read and dropped.
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
TYPES = ("pmv5", "ssmv5")


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
        >>> fusion_config("V5_1_3_audio_languagebind_7B").parameters()
        8996352
    """
    if not isinstance(name_or_kwargs, str):
        return _from_kwargs(name_or_kwargs)
    short = name_or_kwargs.removeprefix(PREFIX)
    if short not in _CONFIGS:
        raise ConfigError(
            f"no official fusion config is called {name_or_kwargs!r}; known: "
            f"{', '.join(list_configs())}"
        )
    common = {
        "side_dim": 1024,
        "query_dim": 1152,
        "out_dim": 896,
        "tie_kv": True,
        "alignment": "groups",
    }
    return FusionConfig(**{**common, **_CONFIGS[short]})


def _from_kwargs(given: Mapping[str, Any]) -> FusionConfig:
    kwargs = dict(given)
    kind = kwargs.pop("temporal_aggregator_type", TYPES[0])
    if kind not in TYPES:
        raise ConfigError(
            f"temporal_aggregator_type {kind!r} is not supported; known: {', '.join(TYPES)}"
        )
    kwargs = dict(kwargs.get("kwargs", kwargs))
    unknown = sorted(set(kwargs) - set(_ARGUMENTS))
    if unknown:
        raise ConfigError(f"unknown arguments of an official fusion: {', '.join(unknown)}")
    args = {**_ARGUMENTS, **kwargs}
    missing = [key for key in ("input_dim", "output_dim", "embed_dim") if args[key] is None]
    if args["fast_input_mapping_type"] != "linear":
        raise ConfigError(
            "only fast_input_mapping_type='linear' is supported: no released checkpoint maps its "
            "input otherwise"
        )
    if missing:
        raise ConfigError(f"arguments of an official fusion are missing: {', '.join(missing)}")
    if args["query_type"] not in ("slow_feat", "learnable"):
        raise ConfigError(
            f"query_type must be 'slow_feat' or 'learnable', got {args['query_type']!r}"
        )
    depth = max(1, args["mlp_depth"]) if args["use_output_mlp"] else 0
    # With one layer and no norm the authors' module ignores output_dim and returns twice the hidden
    # width.
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
