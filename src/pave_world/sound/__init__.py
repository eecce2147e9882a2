"""What a scene sounds like: phrases for every instrument, played on a sound font and mixed."""

from __future__ import annotations
