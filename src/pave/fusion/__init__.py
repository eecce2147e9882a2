"""The method itself: visual tokens look at the side channel of their moment, in plain torch."""

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.fusion.config import FusionConfig, FusionSettings
    from pave.fusion.module import Fusion
    from pave.fusion.registry import make_fusion, read_fusion_config, register_fusion

_HOMES = {
    "Fusion": "pave.fusion.module",
    "FusionConfig": "pave.fusion.config",
    "FusionSettings": "pave.fusion.config",
    "make_fusion": "pave.fusion.registry",
    "read_fusion_config": "pave.fusion.registry",
    "register_fusion": "pave.fusion.registry",
}

__all__ = [
    "Fusion",
    "FusionConfig",
    "FusionSettings",
    "make_fusion",
    "read_fusion_config",
    "register_fusion",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
