"""The demo: from nothing to a trained sound patch and a table of what it is worth.

In one command (`pave demo`).
"""

from __future__ import annotations
