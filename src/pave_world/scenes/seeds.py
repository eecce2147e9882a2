"""Seeds: every random number of the world comes from a seed, a split, a clip, and a stream.

NumPy's `SeedSequence` mixes the four numbers, so two splits share no scene by construction and a
clip never depends on how many clips are made or in which order.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from pave.errors import ConfigError

Split = Literal["train", "val", "test"]
Stream = Literal["scene", "questions", "noise", "event", "pairs"]

_SPLIT_IDS: Mapping[str, int] = MappingProxyType({"train": 0, "val": 1, "test": 2})
_STREAM_IDS: Mapping[str, int] = MappingProxyType(
    {"scene": 0, "questions": 1, "noise": 2, "event": 3, "pairs": 4}
)

CHANNEL_PARTS: Mapping[str, int] = MappingProxyType(
    {"audio": 0, "video": 1, "scene3d": 2, "views": 3, "frames": 4, "motion": 10_000}
)
"""Channel -> `part` of its generators, so that channels share no scene either."""
A_TAKE = 5
"""How far the parts of two takes of a scene are apart: the first five channels lie between them.

A later channel begins beyond the last take, so that takes of the earlier ones stay what they are.
"""


def generator(
    seed: int, split: str, index: int, stream: Stream, part: int = 0
) -> np.random.Generator:
    """Random generator of one purpose of one clip.

    Args:
        seed: Seed of the whole data set, not negative.
        split: ``"train"``, ``"val"`` or ``"test"``.
        index: Number of the clip in its split.
        stream: What the numbers are for; streams are independent.
        part: Further number inside a stream (the event of a scene).

    Raises:
        ConfigError: The split is unknown or a number is negative.

    Example:
        >>> train, test = (generator(0, split, 0, "scene") for split in ("train", "test"))
        >>> train.random() == test.random()
        False
    """
    if split not in _SPLIT_IDS:
        raise ConfigError(f"unknown split {split!r}; choose one of {', '.join(get_args(Split))}")
    if min(seed, index, part) < 0:
        raise ConfigError(
            f"seed and clip index must not be negative, got seed={seed}, index={index}"
        )
    entropy = [seed, _SPLIT_IDS[split], index, _STREAM_IDS[stream], part]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
