"""The method itself: frozen visual tokens look at the side channel of their own moment and get a residual back.

Plain torch; everything else in pave builds on it. `FusionConfig` says which function, `Fusion` is the function.
"""

from __future__ import annotations

from pave.fusion.config import FusionConfig
from pave.fusion.module import Fusion

__all__ = ["Fusion", "FusionConfig"]
