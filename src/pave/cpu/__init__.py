"""Speed on CPUs, put on modules from outside; nothing that is sped up knows of it.

Optional: without it the numbers are the same but for rounding. `speed_up` gives the layers of a
fusion what pays on this processor. `frozen_in_bf16` and `frozen_through_onednn` hold a frozen
language model while a patch trains, and `lean_layers` gives its norms and MLPs a shorter backward
pass. `merge` gives LoRA layers merged copies of their weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.cpu.frozen import frozen_in_bf16, frozen_through_onednn
    from pave.cpu.lean import lean_layers
    from pave.cpu.merged import merge, unmerge
    from pave.cpu.speed import speed_up

_HOMES = {
    "frozen_in_bf16": "pave.cpu.frozen",
    "frozen_through_onednn": "pave.cpu.frozen",
    "lean_layers": "pave.cpu.lean",
    "merge": "pave.cpu.merged",
    "speed_up": "pave.cpu.speed",
    "unmerge": "pave.cpu.merged",
}

__all__ = ["frozen_in_bf16", "frozen_through_onednn", "lean_layers", "merge", "speed_up", "unmerge"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
