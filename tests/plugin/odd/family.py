"""A model that transformers does not know, and its family."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
)

from pave import register_family
from pave.bases.families.llava_onevision import LlavaOnevision


class OddConfig(LlavaOnevisionConfig):
    """A configuration under a name of its own."""

    model_type = "odd_video"


class OddForConditionalGeneration(LlavaOnevisionForConditionalGeneration):
    """The model of that name."""

    config_class = OddConfig


AutoConfig.register("odd_video", OddConfig)
AutoModelForImageTextToText.register(OddConfig, OddForConditionalGeneration)


@register_family
class Odd(LlavaOnevision):
    """Its visual tokens lie as LLaVA-OneVision's do."""

    name = "odd"
    model_types = ("odd_video",)
