"""`own_sampling`: the frames that a base's own video processor would take (`frames="auto"`).

The numbers are those of its processor's file, over those of its family's class in transformers.
`do_sample_frames: false` in a file says only that the caller samples, as pave does here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pave.bases.base import Base
from pave.bases.inputs import MOST_FRAMES, FrameWord
from pave.bases.settings import video_file
from pave.errors import BaseError, ConfigError
from pave.media import Paced, Uniform

# Qwen2-VL's class leaves the rate to its caller; 2 a second is that of the authors' own code.
_QWEN2 = Paced("step", fps=2, least=4, most=768, multiple=2)
_QWEN3 = Paced("round", fps=2, least=4, most=768)
_PLAIN = Paced("floor")

RULES: Mapping[str, Paced] = {
    "gemma4": Paced("floor", count=32),
    "glm4v": Paced("from", fps=2, longest=300),
    "internvl": Paced("middle"),
    "llava_next_video": _PLAIN,
    "llava_onevision": _PLAIN,
    "minicpm_v": Paced("second", count=128),
    "molmo2": Paced("capped", fps=2, count=64),
    "perception_lm": _PLAIN,
    "qwen2_5_omni": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen2_vl": _QWEN2,
    "qwen3_5": _QWEN3,
    "qwen3_omni": _QWEN2,
    "qwen3_vl": _QWEN3,
    "smolvlm": Paced("inside", fps=1, count=64),
    "video_llama_3": Paced("step", least=4, most=180),
}
"""Family -> its processor's rule. One with neither rate nor count leaves both to the file."""

GLM_46 = Paced("dynamic", count=640)
"""GLM-4.6V's, whose checkpoints may have the model type of GLM-4.1V or 4.5V."""

_WORDS = {
    "fps": "fps",
    "num_frames": "count",
    "min_frames": "least",
    "max_frames": "most",
    "temporal_patch_size": "multiple",
}
"""What files call the numbers that count in a rule of the kind "step"."""
_READ: Mapping[str, Mapping[str, str]] = {
    "step": _WORDS,
    "round": {word: ours for word, ours in _WORDS.items() if ours != "multiple"},
    "middle": {"fps": "fps", "num_frames": "count"},
    "floor": {"fps": "fps", "num_frames": "count"},
    "inside": {"fps": "fps", "max_frames": "count"},
    "capped": {"max_fps": "fps", "num_frames": "count"},
    "from": {"fps": "fps", "max_duration": "longest"},
    "dynamic": {},  # all numbers are its class's
    "second": {"max_num_frames": "count"},
}


def sampling_of(base: Base, frames: FrameWord | None) -> Paced | Uniform:
    """How a clip's frames are chosen: auto, a number of them, or the base's own number.

    Raises:
        BaseError: If the processor's file is damaged.
        ConfigError: If it asks for what pave does not do.
    """
    if frames == "auto":
        return own_sampling(base)
    return Uniform(frames or base.settings.frames)


def own_sampling(base: Base) -> Paced | Uniform:
    """What `frames="auto"` means for a base: its processor's rule, or else its fixed number.

    Raises:
        BaseError: If the processor's file is damaged, or gives both a rate and a number.
        ConfigError: If it asks for several frames on one picture (MiniCPM-V).

    Example:
        >>> own_sampling(load_base("Qwen/Qwen3-VL-2B-Instruct"))  # doctest: +SKIP
        Paced(rule='round', fps=2, count=None, least=4, most=768, multiple=1)
    """
    family = base.family.name
    own = RULES.get(family)
    if own is not None and own.rule == "from" and base.settings.tenths:
        own = GLM_46
    # A way of being fed that is not the family's own has a number of its own.
    if own is None or base.inputs.frames is not None:
        return Uniform(base.settings.frames)
    if base.origin is not None:  # else the model was loaded elsewhere, and its files are unknown
        source = base.origin.source
        name, found = video_file(source)
        if own.rule == "second" and found.get("stack_frames") not in (None, 1):
            raise ConfigError(
                f"{source}: {name} asks for several frames stacked into one picture "
                "(stack_frames), which pave does not support; give a number of frames instead "
                "of auto"
            )
        own = by_file(own, found, f"{source}: {name}")
    if own.fps is None and own.count is None:
        return Uniform(base.settings.frames)
    return own


def by_file(own: Paced, found: Mapping[str, Any], where: str) -> Paced:
    """A family's rule with the numbers of a processor's file.

    Args:
        own: The family's rule.
        found: The file's content.
        where: What to call the file in messages.

    Raises:
        BaseError: If a number is none, or a rate and a number exclude each other.
    """
    if own.rule == "inside":
        found = found.get("video_sampling") or {}
        if not isinstance(found, Mapping):
            raise BaseError(f"{where}: video_sampling must be an object, got {found!r}")
    given: dict[str, Any] = {}
    for word, ours in _READ[own.rule].items():
        number = found.get(word)
        if number is None:
            continue
        whole = type(number) is int
        # Frames are counted, seconds are measured.
        whole |= ours in ("fps", "longest") and type(number) is float
        if not whole or not 0 < number <= MOST_FRAMES:
            raise BaseError(f"{where}: {word} must be a positive number, got {number!r}")
        given[ours] = number
    if {"fps", "num_frames"} <= _READ[own.rule].keys():
        if {"fps", "count"} <= given.keys():  # as transformers does
            raise BaseError(f"{where}: fps and num_frames exclude each other; remove one of them")
        # One of them takes the place of the other in the family's own rule.
        if "count" in given:
            given["fps"] = None
        if "fps" in given and given["fps"] is not None:
            given["count"] = None
    return replace(own, **given)
