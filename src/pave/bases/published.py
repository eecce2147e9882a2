"""Shapes of the published LLaVA-OneVision bases, so that their cost can be told without the Hub.

Both have SigLIP so400m/14 at 384 pixels without its last layer (26 layers, 1152 wide), a two-layer
projector, and Qwen2.
"""

from __future__ import annotations

import re
from typing import Any

from pave.bases.origin import on_meta

_TOWER = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
_TEXT: dict[str, dict[str, Any]] = {
    "0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
}
_NAME = re.compile(r"(?:^|llava-onevision-qwen2-)(0\.5b|7b)(?:-ov|-ov-chat|-si|$)", re.IGNORECASE)


def published_size(name: str) -> str | None:
    """The size that a name such as "7b" or a Hub id of LLaVA-OneVision says; None for any other.

    Example:
        >>> published_size("llava-hf/llava-onevision-qwen2-7b-ov-hf"), published_size("smol")
        ('7b', None)
    """
    found = _NAME.search(name)
    if found is None:
        return None
    return found[1].lower()


def published_model(size: str) -> Any:
    """LLaVA-OneVision of a published size on the meta device.

    Args:
        size: "0.5b" or "7b".
    """
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    # Rows of the published embeddings: the words, the placeholders and filling.
    text = {"model_type": "qwen2", "vocab_size": 152000, **_TEXT[size]}
    config = LlavaOnevisionConfig(
        vision_config=_TOWER,
        text_config=text,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    return on_meta(LlavaOnevisionForConditionalGeneration, config)
