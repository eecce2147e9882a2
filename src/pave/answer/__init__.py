"""Answers: how a question is put, how an answer is generated, and asking about a video.

`PatchedModel.ask`, the evaluation and the adapter for lmms-eval all go this way, so that a question
is put in one way and an answer ends in one way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.answer.asking import ask
    from pave.answer.chatting import ask_behind, reply, reply_in_pieces
    from pave.answer.conversation import Conversation
    from pave.answer.generation import generate
    from pave.answer.messages import turns_of
    from pave.answer.model import AnsweringModel
    from pave.answer.questions import Questions, questions_about
    from pave.answer.sampling import Sampling
    from pave.answer.weighing import log_probabilities

_HOMES = {
    "AnsweringModel": "pave.answer.model",
    "Conversation": "pave.answer.conversation",
    "Questions": "pave.answer.questions",
    "Sampling": "pave.answer.sampling",
    "ask": "pave.answer.asking",
    "ask_behind": "pave.answer.chatting",
    "generate": "pave.answer.generation",
    "log_probabilities": "pave.answer.weighing",
    "questions_about": "pave.answer.questions",
    "reply": "pave.answer.chatting",
    "reply_in_pieces": "pave.answer.chatting",
    "turns_of": "pave.answer.messages",
}

__all__ = [
    "AnsweringModel",
    "Conversation",
    "Questions",
    "Sampling",
    "ask",
    "ask_behind",
    "generate",
    "log_probabilities",
    "questions_about",
    "reply",
    "reply_in_pieces",
    "turns_of",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
