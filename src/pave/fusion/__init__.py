"""The method itself: visual tokens look at the side channel of their moment, in plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.fusion_config import ConcatConfig, FusionConfig
from pave.fusion_registry import CONCAT, OURS, register_fusion
from pave.lazy import lazy_names

if TYPE_CHECKING:
    from torch import nn

    from pave.fusion.attended import Attended, attend
    from pave.fusion.module import Fusion
    from pave.fusion_registry import (
        FusionSettings,
        make_fusion,
        read_fusion_config,
    )

_HOMES = {
    "Attended": "pave.fusion.attended",
    "Fusion": "pave.fusion.module",
    "FusionConfig": "pave.fusion_config",
    "FusionSettings": "pave.fusion_registry",
    "attend": "pave.fusion.attended",
    "make_fusion": "pave.fusion_registry",
    "read_fusion_config": "pave.fusion_registry",
    "register_fusion": "pave.fusion_registry",
}

__all__ = [
    "Attended",
    "Fusion",
    "FusionConfig",
    "FusionSettings",
    "attend",
    "make_fusion",
    "read_fusion_config",
    "register_fusion",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)


@register_fusion(OURS, FusionConfig)
def _make(config: FusionConfig) -> nn.Module:
    from pave.fusion.module import Fusion  # here, so that settings need no torch

    return Fusion(config)


@register_fusion(CONCAT, ConcatConfig)
def _make_concat(config: ConcatConfig) -> nn.Module:
    from pave.fusion.concat import Concat

    return Concat(config)
