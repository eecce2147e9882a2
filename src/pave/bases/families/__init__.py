"""The families pave knows, one file each; `register_family` adds another."""

from __future__ import annotations

from pave.bases.families import (
    internvl,
    llava_next_video,
    llava_onevision,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_vl,
    smolvlm,
    video_llama_3,
)
from pave.bases.family import Family
from pave.errors import BaseError

_REGISTRY: dict[str, Family] = {}


def register_family(spec: Family) -> Family:
    """Make a family known to `load_base`, by every `model_type` it lists. Registering the same type again replaces it.

    Example:
        >>> register_family(my_spec)  # doctest: +SKIP
    """
    for model_type in spec.model_types:
        _REGISTRY[model_type] = spec
    return spec


def list_families() -> list[str]:
    """Names of all known families, sorted."""
    return sorted({spec.name for spec in _REGISTRY.values()})


def list_specs() -> list[Family]:
    """All known specs, each once, by name; a family whose model types differ in some fact has several."""
    return sorted(
        {id(spec): spec for spec in _REGISTRY.values()}.values(), key=lambda spec: spec.name
    )


def find_family(model_type: str) -> Family:
    """The family of a Hugging Face `config.model_type`.

    Raises:
        BaseError: If no family lists it.
    """
    if model_type not in _REGISTRY:
        raise BaseError(
            f"model type {model_type!r} belongs to no supported family "
            f"({', '.join(list_families())}); "
            "use one of these, or describe yours in a Family and call "
            "pave.bases.register_family"
        )
    return _REGISTRY[model_type]


_MODULES = (
    internvl,
    llava_next_video,
    llava_onevision,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_vl,
    smolvlm,
    video_llama_3,
)

for _module in _MODULES:
    for _spec in _module.SPECS:
        register_family(_spec)
