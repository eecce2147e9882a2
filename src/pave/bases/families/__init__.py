"""The families of bases, found by the `model_type` of a Hugging Face config.

pave's own lie here, one file each, and are imported when a model asks for one. A further one comes
from your program (`@register_family`) or from an installed package that announces its model types
under the entry point group `pave.families`; every verb of the command line then takes it.
"""

from __future__ import annotations

from typing import TypeVar

from pave.arguments import as_kind
from pave.bases.family import Family
from pave.errors import BaseError
from pave.registry import Registry

F = TypeVar("F", bound=type[Family])

_HERE = "pave.bases.families"
FAMILIES = Registry[type[Family]](
    "family",
    "pave.families",
    {
        "gemma4": f"{_HERE}.gemma4",
        "gemma4_unified": f"{_HERE}.gemma4",
        "glm46v": f"{_HERE}.glm4v",
        "glm4v": f"{_HERE}.glm4v",
        "glm4v_moe": f"{_HERE}.glm4v",
        "internvl": f"{_HERE}.internvl",
        "llava_next_video": f"{_HERE}.llava_next_video",
        "llava_onevision": f"{_HERE}.llava_onevision",
        "minicpmv4_6": f"{_HERE}.minicpm_v",
        "minicpmv4_7": f"{_HERE}.minicpm_v",
        "molmo2": f"{_HERE}.molmo2",
        "perception_lm": f"{_HERE}.perception_lm",
        "qwen2_5_omni_thinker": f"{_HERE}.qwen2_5_omni",
        "qwen2_5_vl": f"{_HERE}.qwen2_5_vl",
        "qwen2_vl": f"{_HERE}.qwen2_vl",
        "qwen3_5": f"{_HERE}.qwen3_5",
        "qwen3_5_moe": f"{_HERE}.qwen3_5",
        "qwen3_omni_moe_thinker": f"{_HERE}.qwen3_omni",
        "qwen3_vl": f"{_HERE}.qwen3_vl",
        "qwen3_vl_moe": f"{_HERE}.qwen3_vl",
        "smolvlm": f"{_HERE}.smolvlm",
        "video_llama_3": f"{_HERE}.video_llama_3",
    },
    BaseError,
)
REFUSED = {
    "instructblip": "its tokens come out of a Q-Former and stand for no place in the picture",
    "instructblipvideo": "its tokens come out of a Q-Former and stand for no place in the picture",
    "gemma3": "it takes pictures only, not videos",
    "gemma3n": "it takes pictures only, not videos",
    "qwen2_5_omni": "it is a whole Omni model; use its thinker (qwen2_5_omni_thinker)",
    "qwen3_omni_moe": "it is a whole Omni model; use its thinker (qwen3_omni_moe_thinker)",
}
"""Model types that were looked at and are no bases, with the reason; docs/reference/model-types.md
has the other ones that take videos."""


def register_family(family: F) -> F:
    """Make a family known to `load_base`, by every `model_type` it lists; a class decorator.

    Raises:
        BaseError: If a model type already belongs to another family of this program.

    Example:
        >>> @register_family  # doctest: +SKIP
        ... class VideoLlava(Family):
        ...     name = "video_llava"
    """
    if not isinstance(family, type) or not hasattr(family, "model_types"):
        raise BaseError(f"a family is a class with model_types, got {family!r}")
    for model_type in family.model_types:
        FAMILIES.register(model_type, family)
    return family


def find_family(model_type: str) -> type[Family]:
    """The family of a Hugging Face `config.model_type`; call it with the config.

    Raises:
        BaseError: If no family lists it, it is known not to be a base, or its package fails to
            import.

    Example:
        >>> find_family("qwen3_vl_moe").name
        'qwen3_vl'
    """
    as_kind(model_type, str, "a model type is a text", BaseError)
    known = FAMILIES.names()
    if model_type in REFUSED and model_type not in known:
        raise BaseError(
            f"model type {model_type!r} cannot be a base for pave: {REFUSED[model_type]}; use "
            f"one of {', '.join(known)}"
        )
    if model_type not in known:
        raise BaseError(
            f"model type {model_type!r} belongs to no supported family ({', '.join(known)}); "
            "use one of these, or write a Family and register it with pave.register_family"
        )
    return FAMILIES.get(model_type)
