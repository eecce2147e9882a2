"""Patches: small trained file sets that give a frozen base a new sense, and the model that carries them.

Example:
    >>> import pave
    >>> model = pave.PatchedModel(pave.load_base("smol"))                               # doctest: +SKIP
    >>> model.new_patch("audio", encoder="mel", lora=pave.LoraSpec(rank=16), seed=0)    # doctest: +SKIP
    'audio'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pave.patches.config import BaseId, EncoderSpec, LoraSpec, PatchConfig
    from pave.patches.folder import read_config
    from pave.patches.model import PatchedModel

_HOMES = {
    "BaseId": "pave.patches.config",
    "EncoderSpec": "pave.patches.config",
    "LoraSpec": "pave.patches.config",
    "PatchConfig": "pave.patches.config",
    "PatchedModel": "pave.patches.model",
    "read_config": "pave.patches.folder",
}

__all__ = ["BaseId", "EncoderSpec", "LoraSpec", "PatchConfig", "PatchedModel", "read_config"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that settings that name a LoRA do not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pave.patches' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
