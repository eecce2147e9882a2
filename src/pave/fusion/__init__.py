"""The method itself: frozen visual tokens look at the side channel of their own moment and get a residual back.

Plain torch; everything else in pave builds on it. `FusionConfig` says which function, `Fusion` is
the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.fusion.config import FusionConfig
    from pave.fusion.module import Fusion

_HOMES = {
    "Fusion": "pave.fusion.module",
    "FusionConfig": "pave.fusion.config",
}

__all__ = ["Fusion", "FusionConfig"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
