"""pave gives a frozen Video LLM a new sense: small patches that fuse a side channel into its visual tokens.

The names below load on first use, so that `import pave` (and with it `pave --help`) stays free of
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    from pave.patches import LoraSpec, PatchedModel
    from pave.tokens import Tokens

__version__ = "0.1.0"

_HOMES = {
    "Fusion": "pave.fusion",
    "FusionConfig": "pave.fusion",
    "Tokens": "pave.tokens",
    "PatchedModel": "pave.patches",
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


def __getattr__(name: str) -> Any:
    """Import a public name from its home module the first time it is used (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pave' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for tab completion before anything is loaded."""
    return sorted(__all__)
