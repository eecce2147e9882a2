"""Prompts as token ids: the prefix that all questions of a clip share, then the turns.

Every part is encoded on its own, so that training (which packs many turns behind one prefix) and
generation (which asks one) feed the model the same ids. The parts are those of the family's own
chat template.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PromptStyle:
    """The text around turns.

    A prompt is `head + video + after_video` (the prefix all questions of a clip share), then a turn
    `question + ask + answer + end`, with `again` between one turn's end and the next question.

    Attributes:
        head: From the start of the sequence to the video placeholders (system turn and opening of
            the first user turn).
        after_video: Between the placeholders and the first question.
        ask: Between a question and its answer (closes the user turn, opens the assistant's).
        end: After an answer; its first token is also the stop token of generation.
        again: Opens a further user turn.
        answer: Put before every answer, where the chat format writes a space there. Part of the
            answer, so that the model learns (and predicts) it as it did in its own training.
        question: Put before every question and tokenised together with it.
        header: The end of `ask` that is learnt as a part of the answer (the assistant's header, in
            LLaVA's training).
        learnt: Tokens that are learnt wherever they stand, in questions and in the system turn too
            (LLaVA's training).
    """

    head: str
    after_video: str
    ask: str
    end: str
    again: str
    answer: str = ""
    question: str = ""
    header: str = ""
    learnt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """One clip's text as ids.

    Attributes:
        prefix: Head, clip placeholders and what follows them.
        turns: `(question ids, answer ids)` a turn; the answer ids are empty where the answer is not
            known.
        again: Put between one turn's answer and the next question when turns form a dialogue.
        header: So many ids at the end of each question are learnt with the answer.
        learnt: Ids that are learnt wherever they stand.
    """

    prefix: list[int]
    turns: list[tuple[list[int], list[int]]] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    header: int = 0
    learnt: frozenset[int] = frozenset()

    def ask(self, turn: int = 0) -> list[int]:
        """Ids to generate the answer of one turn from, as if it were the only one."""
        question, _ = self.turns[turn]
        return self.prefix + question

    def dialogue(self) -> list[int]:
        """Ids of the prefix and all turns in a row."""
        ids = list(self.prefix)
        for number, (question, answer) in enumerate(self.turns):
            if number:  # the prefix has opened the first turn already
                ids += self.again
            ids += question + answer
        return ids


def continued(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that continues a line.

    SentencePiece tokenizers put a space in front of text that stands alone, so it is encoded behind
    a newline, whose ids are then taken off. Where the newline grows together with the text (Qwen
    has a token of two newlines), the text is encoded alone.
    """
    if not text:
        return []
    newline = list(tokenizer("\n", add_special_tokens=False)["input_ids"])
    both = list(tokenizer("\n" + text, add_special_tokens=False)["input_ids"])
    if both[: len(newline)] == newline:
        return both[len(newline) :]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
