"""The verbs that this package adds to `pave`.

Announced by its entry points in the group `pave.verbs`.
"""

from __future__ import annotations
