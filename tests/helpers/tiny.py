"""Short names for `pave.testing`'s tiny models: `tiny.base("qwen2_vl")`, `tiny.frames(4)`."""

from pave.media import Frames
from pave.testing.tiny import tiny_base as base
from pave.testing.tiny import tiny_clips as clips
from pave.testing.tiny import tiny_frames as frames
from pave.testing.tiny import tiny_inputs as inputs
from pave.testing.tiny_models import FAMILIES, HIDDEN
from pave.testing.tiny_words import VOCAB
from pave.testing.tiny_words import tiny_tokenizer as tokenizer
from pave.testing.tiny_words import token_id as token

# Their layers let one question reach the next, so nothing is shared or packed.
UNSHARED = (
    "qwen3_5",
    "qwen3_5_moe",
    "gemma4",
    "gemma4_unified",
    "minicpmv4_6",
    "minicpmv4_7",
    "molmo2",
)
SHARING = tuple(name for name in FAMILIES if name not in UNSHARED)

# They stack the clips of a batch, which therefore have one number of frames.
ONE_LENGTH = ("llava_onevision", "llava_next_video", "perception_lm")

# One of every kind, which the fast tests ask everything; the others are asked by the slow ones, and
# `check_family` by both (conftest.py).
USUAL = (
    "llava_onevision",
    "llava_next_video",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_5",
    "internvl",
    "smolvlm",
    "video_llama_3",
)

__all__ = [
    "FAMILIES",
    "HIDDEN",
    "ONE_LENGTH",
    "SHARING",
    "UNSHARED",
    "USUAL",
    "VOCAB",
    "Frames",
    "base",
    "clips",
    "frames",
    "inputs",
    "token",
    "tokenizer",
]
