"""Fusions by name: pave's own, those of the program at hand, and those of installed packages.

`patch.json` names a fusion by the field `type` of its settings. An installed package announces its
own under the entry point group `pave.fusions`, pointing at the module that registers it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pave.errors import ConfigError
from pave.fusion.config import FusionConfig, FusionSettings
from pave.registry import Registry

if TYPE_CHECKING:
    from torch import nn

OURS = "cross_attention"
Made = TypeVar("Made", bound="type[nn.Module]")

FUSIONS: Registry[tuple[type[FusionSettings], type[nn.Module]]] = Registry(
    "fusion", "pave.fusions", {OURS: "pave.fusion.module"}, ConfigError
)


def register_fusion(name: str, config_class: type[FusionSettings]) -> Callable[[Made], Made]:
    """A decorator that makes a fusion class, called as `fusion_class(config)`, known by name.

    Args:
        name: What the field `type` of its settings says.
        config_class: The class of its settings.

    Raises:
        ConfigError: If the name belongs to another fusion.
    """

    def keep(fusion_class: Made) -> Made:
        FUSIONS.register(name, (config_class, fusion_class))
        return fusion_class

    return keep


def read_fusion_config(fields: Mapping[str, Any]) -> FusionSettings:
    """The settings that a mapping means, read by the class that its `type` names.

    Raises:
        ConfigError: If no fusion has that name, or two settings contradict each other.
        pydantic.ValidationError: If a field is unknown, missing or out of range.
    """
    name = fields.get("type", OURS)
    if name == OURS:  # asked before the registry, which would import torch
        return FusionConfig.model_validate(dict(fields))
    return FUSIONS.get(str(name))[0].model_validate(dict(fields))


def make_fusion(config: FusionSettings) -> nn.Module:
    """A fresh fusion of the class that was registered for these settings.

    Raises:
        ConfigError: If none was.
    """
    return FUSIONS.get(config.type)[1](config)
