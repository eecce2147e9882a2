"""What the author of a plug-in needs to test it, and what pave's own tests use.

`tiny_base` makes a real but tiny model of any family in a fraction of a second. `check_family`,
`check_encoder` and `check_fusion` hold a new family, encoder or fusion to the promises that pave
makes for its own. They raise `AssertionError` with words and need no test framework. `check_base`
looks at a real base, whatever was loaded, and gives a row a check (`pave check`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.testing.base import Check, check_base
    from pave.testing.encoder import check_encoder
    from pave.testing.family import check_family
    from pave.testing.fusion import check_fusion
    from pave.testing.tiny import (
        tiny_base,
        tiny_clips,
        tiny_frames,
        tiny_inputs,
    )
    from pave.testing.tiny_words import tiny_tokenizer

_HOMES = {
    "Check": "pave.testing.base",
    "check_base": "pave.testing.base",
    "check_encoder": "pave.testing.encoder",
    "check_family": "pave.testing.family",
    "check_fusion": "pave.testing.fusion",
    "tiny_base": "pave.testing.tiny",
    "tiny_clips": "pave.testing.tiny",
    "tiny_frames": "pave.testing.tiny",
    "tiny_inputs": "pave.testing.tiny",
    "tiny_tokenizer": "pave.testing.tiny_words",
}

__all__ = [
    "Check",
    "check_base",
    "check_encoder",
    "check_family",
    "check_fusion",
    "tiny_base",
    "tiny_clips",
    "tiny_frames",
    "tiny_inputs",
    "tiny_tokenizer",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
