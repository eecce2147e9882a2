"""`Conversation`: a talk with a model that remembers what was said and seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from pave.answer.chatting import Memory, reply, reply_in_pieces
from pave.answer.messages import ChatTurn, turns_of
from pave.answer.model import AnsweringModel
from pave.answer.sampling import Sampling, as_sampling
from pave.bases.plain import as_base
from pave.errors import ConfigError

Content: TypeAlias = str | Sequence[Mapping[str, Any]]
"""What a user says: a text, or a list of parts."""
Message: TypeAlias = dict[str, Any]


class Conversation:
    """A talk: each question is answered in the light of all before it.

    Clips and pictures are decoded and encoded once, in the turn that shows them. Patches may be
    switched between turns; the talk is then read with those that are at work.

    Args:
        model: A `PatchedModel`.
        sampling: How answers are generated, of which there is one each; greedily when not given.
        system: A system message before the talk, where the base's chat template takes one.

    Attributes:
        messages: What was said, as `PatchedModel.chat` takes it.

    Example:
        >>> talk = Conversation(model)  # doctest: +SKIP
        >>> talk.say("What do you hear?", video="concert.mp4")  # doctest: +SKIP
        'a violin'
        >>> "".join(talk.stream("How many of them?"))  # doctest: +SKIP
        'two'
    """

    def __init__(
        self,
        model: AnsweringModel,
        sampling: Sampling | None = None,
        *,
        system: str | None = None,
    ) -> None:
        as_base(getattr(model, "base", model))
        self.messages: list[Message] = []
        if system is not None:
            self.messages.append({"role": "system", "content": system})
        self._model = model
        self._sampling = as_sampling(sampling, 256)
        if self._sampling.n > 1:
            raise ConfigError("a conversation continues from one answer per question; set n to 1")
        self._turns: list[ChatTurn] = []
        self._memory: Memory = {}

    def say(
        self,
        content: Content,
        *,
        video: Any = None,
        image: Any = None,
    ) -> str:
        """The answer to what the user says next.

        Args:
            content: A text, or a list of parts (see `PatchedModel.chat`).
            video: A clip to show with a text.
            image: A picture to show with a text.

        Raises:
            PaveError: As `PatchedModel.chat`; the talk is then as it was before.
        """
        message = _message(content, video, image)
        turns = self._with(message)
        answers = reply(self._model, turns, self._sampling, self._memory)
        answer = answers[0]  # the only one, as `__init__` has made sure
        self._keep(message, turns, answer)
        return answer

    def stream(
        self,
        content: Content,
        *,
        video: Any = None,
        image: Any = None,
    ) -> Iterator[str]:
        """As `say`, piece by piece; what was told by then is kept where nobody takes the rest."""
        message = _message(content, video, image)
        turns = self._with(message)
        pieces = reply_in_pieces(self._model, turns, self._sampling, self._memory)
        return self._told(pieces, message, turns)

    def _told(
        self,
        pieces: Iterator[str],
        message: Message,
        turns: list[ChatTurn],
    ) -> Iterator[str]:
        """Hand the pieces on, and keep what was told when they end."""
        told = ""
        try:
            for piece in pieces:
                told += piece
                yield piece
        except GeneratorExit:  # whoever took the pieces has left
            self._keep(message, turns, told)
            raise
        self._keep(message, turns, told)

    def _with(self, message: Message) -> list[ChatTurn]:
        """The talk so far, and the user's message as its open turn."""
        opening: list[Message] = []
        if not self._turns:
            opening = self.messages  # nothing yet but a system message
        (asked,) = turns_of([*opening, message])
        return [*self._turns, asked]

    def _keep(
        self,
        message: Message,
        turns: list[ChatTurn],
        answer: str,
    ) -> None:
        """Close the open turn with its answer."""
        *before, asked = turns
        # The same parts: what was seen of them is remembered by their identity.
        self._turns = [*before, replace(asked, answer=answer)]
        self.messages.append(message)
        self.messages.append({"role": "assistant", "content": answer})


def _message(content: Content, video: Any, image: Any) -> Message:
    """What the user says and shows, as `PatchedModel.chat` takes it."""
    shown: list[Any] = []
    if video is not None:
        shown.append({"type": "video", "video": video})
    if image is not None:
        shown.append({"type": "image", "image": image})
    if shown:
        text = {"type": "text", "text": content}
        content = [*shown, text]
    return {"role": "user", "content": content}
