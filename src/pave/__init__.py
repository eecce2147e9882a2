"""pave gives a frozen Video LLM a new sense: patches that fuse a side channel into visual tokens.

The names below are what users write. They load on first use, so that `import pave` (and with it
`pave --help`) stays free of torch.

Example:
    >>> import pave
    >>> model = pave.PatchedModel(pave.load_base("smol"))                      # doctest: +SKIP
    >>> model.load_patch("someone/pave-music-avqa", name="music")              # doctest: +SKIP
    >>> model.ask("concert.mp4", "Which instrument is louder?")                # doctest: +SKIP
    'the violin'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave import moved
from pave.lazy import lazy_names
from pave.version import __version__

# Type checkers and editors read these; a running program reads `_HOMES`.
if TYPE_CHECKING:
    from pave.answer import Conversation, Sampling
    from pave.bases import Base, Family, InputSpec, load_base, register_family
    from pave.channels import Encoder, make_encoder, register_encoder
    from pave.data import Record, Turn, read_records, write_records
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
    from pave.evaluate import EvalConfig, evaluate
    from pave.extract import ExtractConfig, extract
    from pave.fusion import Fusion, FusionConfig, register_fusion
    from pave.media import Frames, as_frames
    from pave.model import PatchedModel
    from pave.patches import LoraSpec
    from pave.tasks import register_task
    from pave.tokens import Tokens
    from pave.train import TrainConfig, train

_HOMES = {
    "Base": "pave.bases",
    "BaseError": "pave.errors",
    "ChannelError": "pave.errors",
    "ConfigError": "pave.errors",
    "Conversation": "pave.answer",
    "Encoder": "pave.channels",
    "EvalConfig": "pave.evaluate",
    "ExtractConfig": "pave.extract",
    "Family": "pave.bases",
    "Frames": "pave.media",
    "Fusion": "pave.fusion",
    "FusionConfig": "pave.fusion",
    "InputSpec": "pave.bases",
    "LoraSpec": "pave.patches",
    "MediaError": "pave.errors",
    "PatchError": "pave.errors",
    "PatchedModel": "pave.model",
    "PaveError": "pave.errors",
    "Record": "pave.data",
    "RecordError": "pave.errors",
    "Sampling": "pave.answer",
    "Tokens": "pave.tokens",
    "TrainConfig": "pave.train",
    "TrainError": "pave.errors",
    "Turn": "pave.data",
    "__version__": "pave.version",
    "as_frames": "pave.media",
    "evaluate": "pave.evaluate",
    "extract": "pave.extract",
    "load_base": "pave.bases",
    "make_encoder": "pave.channels",
    "read_records": "pave.data",
    "register_encoder": "pave.channels",
    "register_family": "pave.bases",
    "register_fusion": "pave.fusion",
    "register_task": "pave.tasks",
    "train": "pave.train",
    "write_records": "pave.data",
}

# Written out, because type checkers do not follow `sorted(_HOMES)`.
__all__ = [
    "Base",
    "BaseError",
    "ChannelError",
    "ConfigError",
    "Conversation",
    "Encoder",
    "EvalConfig",
    "ExtractConfig",
    "Family",
    "Frames",
    "Fusion",
    "FusionConfig",
    "InputSpec",
    "LoraSpec",
    "MediaError",
    "PatchError",
    "PatchedModel",
    "PaveError",
    "Record",
    "RecordError",
    "Sampling",
    "Tokens",
    "TrainConfig",
    "TrainError",
    "Turn",
    "__version__",
    "as_frames",
    "evaluate",
    "extract",
    "load_base",
    "make_encoder",
    "read_records",
    "register_encoder",
    "register_family",
    "register_fusion",
    "register_task",
    "train",
    "write_records",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

# Here, since every import of an old name imports this package first.
moved.install()
