"""Short names for `pave.testing`'s tiny models: `tiny.base("qwen2_vl")`, `tiny.frames(4)`."""

from pave.media import Frames
from pave.testing.tiny import FAMILIES, HIDDEN, VOCAB
from pave.testing.tiny import tiny_base as base
from pave.testing.tiny import tiny_clips as clips
from pave.testing.tiny import tiny_frames as frames
from pave.testing.tiny import tiny_inputs as inputs
from pave.testing.tiny import tiny_tokenizer as tokenizer
from pave.testing.tiny import token_id as token

__all__ = [
    "FAMILIES",
    "HIDDEN",
    "VOCAB",
    "Frames",
    "base",
    "clips",
    "frames",
    "inputs",
    "token",
    "tokenizer",
]
