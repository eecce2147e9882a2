"""pave gives a frozen Video LLM a new sense: small patches that fuse a side channel into its visual tokens.

The names below load on first use, so that `import pave` (and with it `pave --help`) stays free of
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names
from pave.version import __version__

if TYPE_CHECKING:
    from pave.bases import load_base
    from pave.errors import (
        BaseError,
        ChannelError,
        ConfigError,
        MediaError,
        PatchError,
        PaveError,
        RecordError,
        TrainError,
    )
    from pave.fusion import Fusion, FusionConfig
    from pave.model import PatchedModel
    from pave.patches import LoraSpec
    from pave.tokens import Tokens


_HOMES = {
    "__version__": "pave.version",
    "Fusion": "pave.fusion",
    "FusionConfig": "pave.fusion",
    "Tokens": "pave.tokens",
    "PatchedModel": "pave.model",
    "LoraSpec": "pave.patches",
    "load_base": "pave.bases",
    "PaveError": "pave.errors",
    "ConfigError": "pave.errors",
    "MediaError": "pave.errors",
    "ChannelError": "pave.errors",
    "RecordError": "pave.errors",
    "BaseError": "pave.errors",
    "PatchError": "pave.errors",
    "TrainError": "pave.errors",
}

__all__ = [
    "BaseError",
    "ChannelError",
    "ConfigError",
    "Fusion",
    "FusionConfig",
    "LoraSpec",
    "MediaError",
    "PatchError",
    "PatchedModel",
    "PaveError",
    "RecordError",
    "Tokens",
    "TrainError",
    "__version__",
    "load_base",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
