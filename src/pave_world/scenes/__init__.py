"""What there is to see and to hear: names, seeds, and the scenes that are drawn from them."""

from __future__ import annotations
