"""Answers: how a question is put, how an answer is generated, and asking about a video.

`PatchedModel.ask`, the evaluation and the adapter for lmms-eval all go this way, so that a question
is put in one way and an answer ends in one way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.answer.asking import ask
    from pave.answer.generation import generate
    from pave.answer.model import AnsweringModel
    from pave.answer.questions import Questions, questions_about
    from pave.answer.sampling import Sampling

_HOMES = {
    "AnsweringModel": "pave.answer.model",
    "Questions": "pave.answer.questions",
    "Sampling": "pave.answer.sampling",
    "ask": "pave.answer.asking",
    "generate": "pave.answer.generation",
    "questions_about": "pave.answer.questions",
}

__all__ = [
    "AnsweringModel",
    "Questions",
    "Sampling",
    "ask",
    "generate",
    "questions_about",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
