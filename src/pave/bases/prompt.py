"""Prompts as token ids: the prefix that all questions of a clip share, then the turns.

User text is never tokens: what a question spells of them is encoded as letters.

Parts are cut only where tokens cannot grow together, behind a control token, and where an answer
begins, since generation begins there too. So training (which packs many turns behind one prefix)
and generation (which asks one) feed the model the same ids, those of the whole text. The parts come
from the checkpoint's own chat template (`pave.bases.template`), else from the family.
"""

from __future__ import annotations

import logging
import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from pave.errors import BaseError

logger = logging.getLogger(__name__)

_ID = operator.attrgetter("id")

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
        controls: What a user's text must not spell as a token.
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
        self.controls = controls_of(tokenizer, style, placeholder)
        # A word may be several ids; each of them counts by itself, wherever it stands.
        learnt: set[int] = set()
        for word in style.learnt:
            learnt.update(continued(tokenizer, word))
        self._learnt = frozenset(learnt)
        self._header = len(continued(tokenizer, style.header))
        bos = tokenizer.bos_token_id
        # Only tokenizers that write BOS in front of every text (LLaMA's) want it here too, once.
        self._bos: list[int] = []
        if bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]:
            self._bos = [bos]

    @property
    def stop_id(self) -> int:
        """The token that ends an answer."""
        return int(self._tokenizer(self.end, add_special_tokens=False)["input_ids"][0])

    def encode(self, text: str, turns: Sequence[tuple[str, str | None]]) -> Prompt:
        """Ids of a clip's text and its turns; see `Base.encode_prompt`."""
        tokenizer, style = self._tokenizer, self.style
        opening = style.head + text + style.after_video
        # A control token ends the prefix: what follows it may grow together with the question.
        # Looked for from the last placeholder on, behind thousands of them.
        last = None
        for found in self.controls.finditer(opening, max(opening.rfind(self._placeholder), 0)):
            last = found
        control, place = "", len(opening)
        if last is not None:
            control, place = last.group(), last.end()
        prefix = list(tokenizer(opening[:place], add_special_tokens=False)["input_ids"])
        if prefix[:1] != self._bos:
            prefix = self._bos + prefix
        first = opening[place:] + style.question
        pairs = []
        further: list[list[int]] = []
        turns = self._stripped(turns, behind=bool(text))
        for number, (question, answer) in enumerate(turns):
            asked = self._behind(control, [first, question, style.ask])
            again: list[int] = []
            if number:
                lead = style.again + style.question
                again = self._behind(self.end, [lead, question, style.ask])
            closed: list[int] = []
            # By itself, not behind the question: generation starts where the question's ids end.
            if answer is not None:
                closed = self._behind("", [style.answer, answer, self.end])
            pairs.append((asked, closed))
            further.append(again)
        history: list[int] = []
        if len(turns) > 1:
            history = self._behind(control, self._talk(first, turns))
        return Prompt(prefix, pairs, further, history, self._header, self._learnt)

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
        opening = parts[0]
        controls = list(self.controls.finditer(opening))
        if controls and any(self.controls.search(own) for own in parts[1::2]):
            place = controls[-1].end()
            ids = list(self._tokenizer(opening[:place], add_special_tokens=False)["input_ids"])
            ids += self._spelt_out(controls[-1].group(), [opening[place:], *parts[1:]])
        elif any(self.controls.search(own) for own in parts[1::2]):
            ids = self._spelt_out("", parts)
        else:
            ids = list(self._tokenizer("".join(parts), add_special_tokens=False)["input_ids"])
        if ids[:1] != self._bos:
            ids = self._bos + ids
        return ids

    def _talk(self, first: str, turns: Sequence[tuple[str, str | None]]) -> list[str]:
        """What the format and a user say in turn, in a talk that waits for its next answer."""
        *past, (question, answer) = turns
        if answer is not None or any(said is None for _, said in past):
            return []
        style = self.style
        parts = [first]
        for asked, said in past:
            parts += [asked, style.past_ask or style.ask + style.answer, said or ""]
            parts.append((style.past_end or self.end + style.again) + style.question)
        return [*parts, question, style.ask]

    def _behind(self, control: str, parts: Sequence[str]) -> list[int]:
        """Ids of text behind a control token, where any tokenizer splits.

        Args:
            control: That token; empty for text that goes on without one.
            parts: What the format and a user say, in turn.
        """
        if any(self.controls.search(own) for own in parts[1::2]):
            return self._spelt_out(control, parts)
        text = "".join(parts)
        if not control or not text:
            return continued(self._tokenizer, text)
        before = list(self._tokenizer(control, add_special_tokens=False)["input_ids"])
        both = list(self._tokenizer(control + text, add_special_tokens=False)["input_ids"])
        return both[len(before) :]

    def _spelt_out(self, control: str, parts: Sequence[str]) -> list[int]:
        """A user's text that spells control tokens: they are letters, only the format's count."""
        ids: list[int] = []
        run, spelt = "", False  # what is tokenised together, and whether it spells some
        for number, text in enumerate(parts):
            if number % 2:
                run += text
                spelt = spelt or self.controls.search(text) is not None
                continue
            place = 0
            for found in self.controls.finditer(text):
                run += text[place : found.start()]
                ids += self._run(control, run, spelt)
                control, place = found.group(), found.end()
                ids += self._tokenizer(control, add_special_tokens=False)["input_ids"]
                run, spelt = "", False
            run += text[place:]
        return ids + self._run(control, run, spelt)

    def _run(self, control: str, text: str, spelt: bool) -> list[int]:
        """Ids of text between two control tokens."""
        if not spelt:
            return self._behind(control, [text])
        plain = Plain(self._tokenizer)
        # Whether the tokenizer treats text behind the token as it does text that stands alone.
        alone = list(self._tokenizer("a", add_special_tokens=False)["input_ids"])
        if control and self._behind(control, ["a"]) == alone:
            return plain(text)["input_ids"]
        return continued(plain, text)


def continued(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that continues a line.

    SentencePiece tokenizers put a space in front of text that stands alone, so it is encoded behind
    a newline, whose ids are then taken off. Where the newline grows together with the text (Qwen
    has a token of two newlines), the text is encoded alone.

    Args:
        tokenizer: The base's.
        text: The text.
    """
    if not text:
        return []
    newline = list(tokenizer("\n", add_special_tokens=False)["input_ids"])
    both = list(tokenizer("\n" + text, add_special_tokens=False)["input_ids"])
    if both[: len(newline)] == newline:
        return both[len(newline) :]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


class Plain:
    """A tokenizer as far as it reads text: whatever a text spells, it is letters and no control.

    `split_special_tokens` of transformers splits special tokens alone, and sets a flag on the
    tokenizer that all threads share; here the tokenizer's own parts are run one after the other.

    Args:
        tokenizer: A tokenizer of transformers.

    Example:
        >>> len(Plain(tokenizer)("<image>")["input_ids"])  # one id a byte  # doctest: +SKIP
        7
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        """As the tokenizer's own call; `options` are its."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:  # written in Python: here the flag is the call's alone
            encoded = self._tokenizer(text, split_special_tokens=True, **options)
            return {"input_ids": list(encoded["input_ids"])}
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        words = [(text, (0, len(text)))]  # with their places
        if backend.pre_tokenizer is not None:
            words = backend.pre_tokenizer.pre_tokenize_str(text)
        ids: list[int] = []
        for word, _ in words:
            ids += map(_ID, backend.model.tokenize(word))
        return {"input_ids": ids}


def controls_of(tokenizer: Any, style: PromptStyle, placeholder: str) -> re.Pattern[str]:
    """What a user's text must not spell as a token: a pattern of the tokenizer's control tokens.

    These are its special tokens, the placeholder, and what else it knows as a whole and the chat
    format is made of. Words that somebody added to a vocabulary stay words.
    """
    spelt = " ".join(style.texts)
    wanted = {placeholder}
    for token in tokenizer.added_tokens_decoder.values():
        own = str(token)
        if token.special or (own in spelt and not own.isspace()):
            wanted.add(own)
    # A token may begin as another one does: the longest is looked for first.
    longest_first = sorted(map(re.escape, wanted - {""}), key=len, reverse=True)
    return re.compile("|".join(longest_first))


def end_of_answers(tokenizer: Any, end: str) -> str:
    """The text that ends an answer: the format's, where its first token says that it ends.

    Tokenizers without that token spell it in letters, whose first one ends many an answer early.
    There the tokenizer's own end token takes its place.

    Args:
        tokenizer: The base's.
        end: The format's.

    Raises:
        BaseError: If there is no end token either.
    """
    first, *rest = list(tokenizer(end, add_special_tokens=False)["input_ids"]) or [None]
    # One of several ordinary pieces says nothing; one that stands for all of the end does.
    known = first in tokenizer.added_tokens_decoder or not rest
    if first is not None and first != tokenizer.unk_token_id and known:
        return end
    own = tokenizer.eos_token
    if own is None:
        raise BaseError(
            f"the tokenizer has no token {end!r}, with which this family's answers end, and no end "
            "token of its own; set tokenizer.eos_token, or load the family's tokenizer"
        )
    logger.warning(
        "the tokenizer has no token %r, with which this family's answers end; they end with its "
        "own end token %r",
        end,
        own,
    )
    return str(own)


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
