"""Prompts as token ids: the prefix that all questions of a clip share, then the turns.

User text is never tokens: what a question spells of them is encoded as letters.

Parts are cut only where tokens cannot grow together, behind a control token, and where an answer
begins, since generation begins there too. So training (which packs many turns behind one prefix)
and generation (which asks one) feed the model the same ids, those of the whole text. The parts come
from the checkpoint's own chat template (`pave.bases.template`), else from the family.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from pave.arguments import as_list_of, as_text
from pave.bases.letters import (
    Plain,
    any_of,
    continued,
    controls_of,
    end_of_answers,
    normalised,
    spelt_with_neighbours,
)
from pave.errors import ConfigError

MOST = 2**14
"""Most characters of a part of a chat format; system turns are the longest, of some hundreds."""

Part = Annotated[str, Field(max_length=MOST)]
"""A part of a chat format; the bound holds where one is read from a file."""


Strips = Annotated[
    tuple[Literal["turn", "text", "answer"], ...],
    Field(max_length=3, exclude_if=operator.not_),
]
"""What a chat format takes outer white space off; left out of files where that is nothing."""


@dataclass(frozen=True)
class PromptStyle:
    """The text around turns.

    A prompt is `head + video + after_video`, then a turn `question + ask + answer + end`, with
    `again` between one turn's end and the next question.

    Attributes:
        head: From the start of the sequence to the video placeholders (system turn and opening of
            the first user turn).
        after_video: Between the placeholders and the first question.
        ask: Between a question and its answer (closes the user turn, opens the assistant's).
        end: After an answer; its first token, one by itself, is also the stop token of generation.
        again: Opens a further user turn.
        answer: Put before every answer, where the chat format writes a space there. Part of the
            answer, so that the model learns (and predicts) it as it did in its own training.
        question: Put before every question and tokenised together with it.
        header: The end of `ask` that is learnt as a part of the answer (the assistant's header, in
            LLaVA's training).
        learnt: Tokens that are learnt wherever they stand, in questions and in the system turn too
            (LLaVA's training).
        past_ask: In place of `ask + answer` before an answer that is history: some templates write
            it otherwise than where they ask for a new one. Empty where they do not.
        past_end: In place of `end + again` behind such an answer.
        strips: Where the format takes outer white space off what is said: off a user's whole turn,
            off each of its texts, off an answer.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    head: Part
    after_video: Part
    ask: Part
    end: Part
    again: Part
    answer: Part = ""
    question: Part = ""
    header: Part = ""
    learnt: Annotated[tuple[Part, ...], Field(max_length=64)] = ()
    past_ask: Part = ""
    past_end: Part = ""
    # Formats are the same whatever they do to white space, so that patches made before this was
    # known go on belonging to their base's format.
    strips: Strips = field(default=(), compare=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is written around turns."""
        return tuple(text for text in vars(self).values() if isinstance(text, str))


@dataclass(frozen=True)
class Prompt:
    """One clip's text as ids.

    Attributes:
        prefix: Head and clip, up to the last control token.
        turns: `(question ids, answer ids)` a turn, as if it were the only one; the answer ids are
            empty where the answer is not known.
        further: For each turn but the first its question as it stands behind another answer.
        history: Where answered turns come before an open one: all turns behind the prefix, as the
            chat template writes a talk that goes on.
        header: So many ids at the end of each question are learnt with the answer.
        learnt: Ids that are learnt wherever they stand.
    """

    prefix: list[int]
    turns: list[tuple[list[int], list[int]]] = field(default_factory=list)
    further: list[list[int]] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    header: int = 0
    learnt: frozenset[int] = frozenset()

    def ask(self, turn: int = 0) -> list[int]:
        """Ids to generate the answer of one turn from, as if it were the only one."""
        question, _ = self.turns[turn]
        return self.prefix + question

    def dialogue(self) -> list[int]:
        """Ids of the prefix and all turns in a row."""
        if self.history:
            return self.prefix + self.history
        ids = list(self.prefix)
        for number, (question, answer) in enumerate(self.turns):
            asked = question
            if number:  # the prefix has opened the first turn already
                asked = self.further[number]
            ids += asked + answer
        return ids


class ChatFormat:
    """A chat format as one tokenizer reads it.

    Args:
        tokenizer: The base's.
        style: The text around turns.
        placeholder: The token that stands for one visual token.
        template: The chat template that the style was read from; empty for a built-in style.

    Attributes:
        style: As given.
        template: As given.
        words: What a user's text must not spell as a token.
        controls: A pattern of it.
        end: Text that ends an answer, its first token the stop token: the style's, where the
            tokenizer knows it.

    Example:
        >>> chat = ChatFormat(tokenizer, STYLE, "<video>")  # doctest: +SKIP
        >>> ids = chat.encode(clip.text, [("What is playing?", None)]).ask()  # doctest: +SKIP
    """

    def __init__(
        self, tokenizer: Any, style: PromptStyle, placeholder: str, template: str = ""
    ) -> None:
        self.style = style
        self.template = template
        self.end = end_of_answers(tokenizer, style.end)
        self._tokenizer = tokenizer
        self._placeholder = placeholder
        self.words = controls_of(tokenizer, style.texts, placeholder)
        self.controls = any_of(self.words)
        # A user's text and what stands beside it can spell a token together.
        self._reach = max(map(len, self.words)) - 1
        # A word may be several ids; each of them counts by itself, wherever it stands.
        learnt: set[int] = set()
        for word in style.learnt:
            learnt.update(continued(tokenizer, word))
        self._learnt = frozenset(learnt)
        self._header = len(continued(tokenizer, style.header))
        bos = tokenizer.bos_token_id
        # Only tokenizers that write BOS in front of every text (LLaMA's) want it here too, once.
        self._bos: list[int] = []
        written = list(tokenizer("a")["input_ids"])
        if bos is not None and written[:1] == [bos]:
            self._bos = [bos]

    @property
    def stop_id(self) -> int:
        """The token that ends an answer."""
        return self._ids(self.end)[0]

    def encode(self, text: str, turns: Sequence[tuple[str, str | None]]) -> Prompt:
        """Ids of a clip's text and its turns; see `Base.encode_prompt`."""
        style = self.style
        opening = style.head + text + style.after_video
        control, place = self._last_control(opening)
        prefix = self._opened(self._ids(opening[:place]))
        # What follows the control token may grow together with the question.
        first = opening[place:] + style.question
        later = style.again + style.question
        turns = self._stripped(turns, behind=bool(text))
        pairs: list[tuple[list[int], list[int]]] = []
        further: list[list[int]] = []
        for number, (question, answer) in enumerate(turns):
            asked = self._behind(control, [first, question, style.ask])
            # By itself, not behind the question: generation starts where the question's ids end.
            closed: list[int] = []
            if answer is not None:
                closed = self._behind("", [style.answer, answer, self.end])
            pairs.append((asked, closed))
            again: list[int] = []
            if number:
                again = self._behind(self.end, [later, question, style.ask])
            further.append(again)
        history: list[int] = []
        if len(turns) > 1:
            history = self._behind(control, self._talk(first, turns))
        return Prompt(prefix, pairs, further, history, self._header, self._learnt)

    def answer(self, text: str) -> list[int]:
        """Ids of an answer as the model gives it, without what ends it."""
        if "answer" in self.style.strips:
            text = text.strip()
        return self._behind("", [self.style.answer, text])

    def encode_talk(self, parts: Sequence[str]) -> list[int]:
        """Ids of a whole talk, with any number of clips, as its text has them.

        Args:
            parts: What the format and people say in turn; the format begins and ends, and clips
                are its.
        """
        if not self._spells(parts):
            return self._opened(self._ids("".join(parts)))
        opening, *rest = parts
        control, place = "", 0
        for found in self.controls.finditer(opening):
            control, place = found.group(), found.end()
        ids = self._ids(opening[:place])
        ids += self._spelt_out(control, [opening[place:], *rest])
        return self._opened(ids)

    def _ids(self, text: str) -> list[int]:
        """Ids of text by itself, without what the tokenizer writes around it."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _opened(self, ids: list[int]) -> list[int]:
        """Ids that begin with BOS where the tokenizer wants it, once."""
        if ids[:1] == self._bos:
            return ids
        return self._bos + ids

    def _last_control(self, opening: str) -> tuple[str, int]:
        """The last control token of a prompt's opening, and where it ends.

        Without one it is empty, and all of the opening is before it.
        """
        # Looked for from the last placeholder on, behind thousands of them.
        begin = max(opening.rfind(self._placeholder), 0)
        control, place = "", len(opening)
        for found in self.controls.finditer(opening, begin):
            control, place = found.group(), found.end()
        return control, place

    def _stripped(
        self, turns: Sequence[tuple[str, str | None]], behind: bool
    ) -> list[tuple[str, str | None]]:
        """The turns without the white space that the format takes off.

        Args:
            turns: Questions and answers.
            behind: Whether the first question stands behind a clip.
        """
        strips = self.style.strips
        if not strips:
            return list(turns)
        stripped: list[tuple[str, str | None]] = []
        for number, (question, answer) in enumerate(turns):
            if "turn" in strips and behind and not number:
                question = question.rstrip()  # the turn begins with the clip
            elif "turn" in strips or "text" in strips:
                question = question.strip()
            if "answer" in strips and answer is not None:
                answer = answer.strip()
            stripped.append((question, answer))
        return stripped

    def _talk(self, first: str, turns: Sequence[tuple[str, str | None]]) -> list[str]:
        """What the format and a user say in turn, in a talk that waits for its next answer."""
        *past, (question, answer) = turns
        if answer is not None or any(said is None for _, said in past):
            return []
        style = self.style
        answering = style.past_ask or style.ask + style.answer
        answered = style.past_end or self.end + style.again
        parts = [first]
        for asked, said in past:
            parts.append(asked)
            parts.append(answering)
            parts.append(said or "")
            parts.append(answered + style.question)
        return [*parts, question, style.ask]

    def _spells(self, parts: Sequence[str]) -> bool:
        """Whether a user spells a control token; the format's parts and a user's alternate."""
        return any(self._spelt_at(parts, number) for number in range(1, len(parts), 2))

    def _spelt_at(self, parts: Sequence[str], number: int) -> bool:
        if spelt_with_neighbours(self.controls, parts, number, self._reach):
            return True
        # Full-width letters, say, may become those of a control token before it is looked for.
        read = normalised(self._tokenizer, parts)
        return read != parts and spelt_with_neighbours(self.controls, read, number, self._reach)

    def _behind(self, control: str, parts: Sequence[str]) -> list[int]:
        """Ids of text behind a control token, where any tokenizer splits.

        Args:
            control: That token; empty for text that goes on without one.
            parts: What the format and a user say, in turn.
        """
        if self._spells(parts):
            return self._spelt_out(control, parts)
        text = "".join(parts)
        if not control or not text:
            return continued(self._tokenizer, text)
        before = self._ids(control)
        both = self._ids(control + text)
        return both[len(before) :]

    def _spelt_out(self, control: str, parts: Sequence[str]) -> list[int]:
        """A user's text that spells control tokens: they are letters, only the format's count."""
        ids: list[int] = []
        run = ""  # what is tokenised together
        spelt = False  # whether a user spells a control token in it
        for number, text in enumerate(parts):
            if number % 2:  # a user's
                run += text
                spelt = spelt or self._spelt_at(parts, number)
                continue
            place = 0
            for found in self.controls.finditer(text):
                run += text[place : found.start()]
                ids += self._run(control, run, spelt)
                control = found.group()
                ids += self._ids(control)
                run, spelt = "", False
                place = found.end()
            run += text[place:]
        return ids + self._run(control, run, spelt)

    def _run(self, control: str, text: str, spelt: bool) -> list[int]:
        """Ids of text between two control tokens."""
        if not spelt:
            return self._behind(control, [text])
        plain = Plain(self._tokenizer)
        # Whether the tokenizer treats text behind the token as it does text that stands alone.
        if control and self._behind(control, ["a"]) == self._ids("a"):
            return plain(text)["input_ids"]
        return continued(plain, text)


def context_length(config: Any) -> float:
    """Tokens that a language model was made for, stretched positions included.

    Args:
        config: Of the language model.
    """
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int):  # a model without positions
        return math.inf
    # Kinds of layers with positions of their own (Gemma's) are under their names; their factors
    # are a part of `max_position_embeddings` already.
    rope = getattr(config, "rope_parameters", None) or {}
    # Stretched positions: the factor counts from what the model had before.
    before = rope.get("original_max_position_embeddings", most)
    factor = rope.get("factor") or 1
    return max(float(most), float(before * factor))


def check_turns(turns: Sequence[tuple[str, str | None]]) -> None:
    """Refuse what is no list of questions and answers.

    Raises:
        ConfigError: If it is none.
    """
    for turn in as_list_of(turns, Sequence, "turns are a list of pairs (question, answer)"):
        if isinstance(turn, str | bytes) or len(turn) != 2:
            raise ConfigError(
                f"a turn is a pair (question, answer), the answer None where it is open, "
                f"got {ascii(turn)[:80]}"
            )
        question, answer = turn
        as_text(question, "a question is a text")
        if answer is not None:
            as_text(answer, "an answer is a text, or None")
