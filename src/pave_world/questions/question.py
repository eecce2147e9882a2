"""One question about a scene: what is asked, its only answer, the channel it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pave_world.scenes.catalog import SILENT, SOUNDING
from pave_world.scenes.scene import Channel

KNOWN = frozenset({*SOUNDING, *SILENT})
"""Names that may be asked for.

Not those of unseen sprites: they are shown to distract, and no training has taught their words.
"""


@dataclass(frozen=True)
class Question:
    """One question and its only right answer.

    ``channel`` is the one that it takes, or ``"both"`` where it takes the picture as well: such a
    question has no answer once a clip has the channel of another one.
    """

    family: str
    question: str
    answer: str
    channel: Channel | Literal["both"]


def shuffled(rng: np.random.Generator, questions: list[Question]) -> list[Question]:
    """The questions in random order."""
    return [questions[number] for number in rng.permutation(len(questions))]
