"""`Loading`: the settings by which a base is loaded, in one set of words for all verbs and files.

They are those of `from_pretrained`. `load_base` takes them as keywords, a verb as flags, a settings
file as lines:

    device        auto, cpu, cuda, cuda:1, mps
    device_map    auto, balanced, ...: over several GPUs, in the place of device
    attention     sdpa, eager, flash_attention_2, ...  (transformers' attn_implementation)
    quantize      nf4, int8, llm-int8: the language model's linear layers in 4 or 8 bits
    revision      a branch, tag or commit of a Hub id

A floating-point type is not among them: training derives it from its precision. Nor is a token,
which would be kept by shells and files: `HF_TOKEN` holds it, or `load_base(..., token=...)`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pave.errors import ConfigError
from pave.placement import DEVICE_HELP
from pave.registry import did_you_mean
from pave.texts import parse_json

ATTENTION = (
    "sdpa",
    "eager",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
    "flex_attention",
)
"""What transformers has; further ones can be registered with its `AttentionInterface`."""


QUANTIZE = ("nf4", "int8", "llm-int8")
"""Ways to quantise, see `pave.bases.quantised`; each is the same on every device."""


MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""What accelerate knows of spreading a model over GPUs by itself."""


class Loading(BaseModel):
    """How the base of a verb is loaded.

    Example:
        >>> Loading(attention="eager", device="cpu").options
        {'attention': 'eager', 'quantize': None, 'revision': None, 'device_map': None}
    """

    # Inputs are kept out of pydantic's own messages: one may be a token.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    device: str = Field(
        "auto", description=f"{DEVICE_HELP} Under torchrun, each process uses its own GPU."
    )
    device_map: str | dict[str, int | str] | None = Field(
        None,
        description="Spread the base over several GPUs: auto, balanced, balanced_low_0, "
        "sequential, or a JSON object from parts of the model to GPUs.",
    )
    attention: str | None = Field(
        None,
        description="Attention implementation of the base: sdpa, eager, flash_attention_2, or "
        "flex_attention; by default the choice of transformers.",
    )
    quantize: str | None = Field(
        None,
        description="Quantise the linear weights of the language model: nf4 (4 bits) or llm-int8 "
        "(8 bits) with bitsandbytes, int8 with torchao.",
    )
    revision: str | None = Field(
        None,
        description="Branch, tag, or commit of a base on the Hub; by default the main branch.",
    )

    @field_validator("attention")
    @classmethod
    def _is_attention(cls, word: str | None) -> str | None:
        # pydantic passes a ValueError on with the setting's name.
        try:
            check_attention(word)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return word

    @field_validator("quantize")
    @classmethod
    def _is_quantization(cls, word: str | None) -> str | None:
        try:
            check_quantize(word)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return word

    @field_validator("device_map", mode="before")
    @classmethod
    def _is_map(cls, given: Any) -> Any:
        try:
            if isinstance(given, str) and given.startswith("{"):  # from a command line
                given = parse_json(given)
            check_map(given)
        except ValueError as error:
            raise ValueError(f"not a JSON object ({error})") from error
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return given

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.device_map is not None and self.device != "auto":
            raise ValueError("device_map already chooses the devices of the base; leave device out")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `load_base`, without the device, which a verb looks up first."""
        return {
            "attention": self.attention,
            "quantize": self.quantize,
            "revision": self.revision,
            "device_map": self.device_map,
        }

    def on(self, device: Any) -> dict[str, Any]:
        """Keywords of `load_base` for a verb that runs on a device.

        Args:
            device: A `torch.device`; a map of the base's own takes its place.
        """
        if self.device_map is not None:  # the device is that of the encoders then
            return self.options
        return {"device": device, **self.options}


AS_USUAL = Loading()
"""Nothing asked for."""


def check_attention(word: str | None) -> None:
    """Make sure that there is such an attention; None is the model's own.

    Raises:
        ConfigError: If there is not. A name of the Hub's kernels is none: it would fetch code.
    """
    if word is None:
        return
    if isinstance(word, str) and (word in ATTENTION or word in _registered()):
        return
    raise ConfigError(
        f"unknown attention {word!r}{did_you_mean(word, ATTENTION)}; available: "
        f"{', '.join(ATTENTION)}"
    )


def check_map(given: Any) -> None:
    """Make sure that a map of devices leads to GPUs alone; None is no map.

    Raises:
        ConfigError: If it is no known word, or offloads parts to the CPU or a disk, where patches
            see no weights.
    """
    if given is None or (isinstance(given, str) and given in MAPS):
        return
    if isinstance(given, Mapping) and given:
        # One place for all is no offloading, the CPU included.
        places = set(map(str, given.values()))
        if "disk" in places or ("cpu" in places and len(places) > 1):
            raise ConfigError(
                "device_map puts parts on the CPU or a disk, where a patch cannot reach their "
                "weights; use GPUs only, or quantise the base"
            )
        return
    hint = did_you_mean(given, MAPS) if isinstance(given, str) else ""
    raise ConfigError(
        f"there is no device_map {given!r}{hint}; use {', '.join(MAPS)}, or a mapping from parts "
        "of the model to GPUs"
    )


def check_quantize(word: str | None) -> None:
    """Make sure that there is such a way to quantise; None is none at all.

    Raises:
        ConfigError: If there is not.
    """
    if word is None or (isinstance(word, str) and word in QUANTIZE):
        return
    raise ConfigError(
        f"unknown way to quantise {word!r}{did_you_mean(word, QUANTIZE)}; available: "
        f"{', '.join(QUANTIZE)}"
    )


def _registered() -> list[str]:
    """Attentions that a program has added to transformers' own."""
    if "transformers" not in sys.modules:  # settings are read before it is needed
        return []
    from transformers import AttentionInterface

    # "paged|..." are of its server, which keeps its own caches.
    return [name for name in AttentionInterface().valid_keys() if "|" not in name]
