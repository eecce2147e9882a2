"""The method itself: frozen visual tokens look at the side channel of their own moment and get a residual back.

Plain torch; everything else in pave builds on it. `FusionConfig` says which function, `Fusion` is
the function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pave.fusion.config import FusionConfig
    from pave.fusion.module import Fusion

_HOMES = {
    "Fusion": "pave.fusion.module",
    "FusionConfig": "pave.fusion.config",
}

__all__ = ["Fusion", "FusionConfig"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that its settings can be read without loading torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pave.fusion' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
