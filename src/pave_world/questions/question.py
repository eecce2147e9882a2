"""One question about a scene: what is asked, the only right answer, and the sense that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pave_world.scenes.catalog import SILENT, SOUNDING

Need = Literal["audio", "scene3d", "views", "frames", "video"]

KNOWN = frozenset({*SOUNDING, *SILENT})
"""Names that may be asked for: the words of unseen sprites were never learnt, they are shown to distract."""


@dataclass(frozen=True)
class Question:
    """One question and its only right answer; ``needs`` says which sense it takes."""

    family: str
    question: str
    answer: str
    needs: Need


def shuffled(rng: np.random.Generator, questions: list[Question]) -> list[Question]:
    """The questions in random order."""
    return [questions[number] for number in rng.permutation(len(questions))]
