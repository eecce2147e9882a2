"""Fusions by name: pave's own, those of the program at hand, and those of installed packages.

A fusion is a class and the class of its settings. The settings carry a field `type` by which
`patch.json` names the fusion; an installed package announces the name under the entry point group
`pave.fusions`, pointing at the module that registers it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pave.errors import ConfigError
from pave.fusion.config import FusionConfig, FusionSettings
from pave.registry import Registry

if TYPE_CHECKING:
    from torch import nn

DEFAULT = "cross_attention"
Made = TypeVar("Made", bound="type[nn.Module]")


class _Kind(NamedTuple):
    """A fusion's two classes."""

    settings: type[FusionSettings]
    module: type[nn.Module]


_FUSIONS = Registry[_Kind]("fusion", "pave.fusions", {DEFAULT: "pave.fusion.module"}, ConfigError)


def register_fusion(name: str, config_class: type[FusionSettings]) -> Callable[[Made], Made]:
    """A decorator that makes a fusion class known under a name.

    Args:
        name: What the field `type` of its settings says.
        config_class: The class of its settings; the fusion is made as `fusion_class(config)`.

    Raises:
        ConfigError: If the name belongs to another fusion.

    Example:
        >>> class Plain(FusionSettings):
        ...     type: Literal["plain"] = "plain"
        >>> @register_fusion("plain", Plain)  # doctest: +SKIP
        ... class PlainFusion(nn.Module): ...
    """

    def keep(fusion_class: Made) -> Made:
        _FUSIONS.register(name, _Kind(config_class, fusion_class))
        return fusion_class

    return keep


def read_fusion_config(fields: Mapping[str, Any] | FusionSettings) -> FusionSettings:
    """The settings that a mapping means, checked by the class that its `type` names.

    Args:
        fields: As in `patch.json`; without `type` they are those of `FusionConfig`. Settings that
            were read already come back as they are.

    Raises:
        ConfigError: If no fusion has that name, or two settings contradict each other.
        pydantic.ValidationError: If a field is unknown, missing or out of range.

    Example:
        >>> read_fusion_config({"side_dim": 8, "query_dim": 6, "out_dim": 10}).type
        'cross_attention'
    """
    if isinstance(fields, FusionSettings):
        return fields
    name = fields.get("type", DEFAULT)
    if name == DEFAULT:  # asked before the registry, which would import torch for it
        return FusionConfig.model_validate(dict(fields))
    if not isinstance(name, str):
        raise ConfigError(f"a fusion's type is a name, got {name!r}")
    return _FUSIONS.get(name).settings.model_validate(dict(fields))


def make_fusion(config: FusionSettings) -> nn.Module:
    """A fresh fusion of the class that was registered for these settings.

    Raises:
        ConfigError: If none was.

    Example:
        >>> config = read_fusion_config({"side_dim": 8, "query_dim": 6, "out_dim": 10})
        >>> type(make_fusion(config)).__name__
        'Fusion'
    """
    return _FUSIONS.get(config.type).module(config)


def list_fusions() -> list[str]:
    """The names of all fusions, sorted, without importing anything."""
    return _FUSIONS.names()
