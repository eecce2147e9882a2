"""Patches: small trained file sets that give a frozen base a new channel.

Example:
    >>> import pave
    >>> model = pave.PatchedModel(pave.load_base("smol"))  # doctest: +SKIP
    >>> model.new_patch("audio", encoder="mel", lora=pave.LoraSpec(), seed=0)  # doctest: +SKIP
    'audio'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.patches.config import BaseId, EncoderSpec, LoraSpec, PatchConfig
    from pave.patches.folder import read_config
    from pave.patches.new import NewChannel

_HOMES = {
    "BaseId": "pave.patches.config",
    "EncoderSpec": "pave.patches.config",
    "LoraSpec": "pave.patches.config",
    "NewChannel": "pave.patches.new",
    "PatchConfig": "pave.patches.config",
    "read_config": "pave.patches.folder",
}

__all__ = ["BaseId", "EncoderSpec", "LoraSpec", "NewChannel", "PatchConfig", "read_config"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
