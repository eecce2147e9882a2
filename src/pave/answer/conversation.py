"""`Conversation`: a talk with a model that remembers what was said and seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pave.answer.chatting import Memory, reply, reply_in_pieces
from pave.answer.messages import ChatTurn, turns_of
from pave.answer.model import AnsweringModel
from pave.answer.sampling import Sampling
from pave.errors import ConfigError


class Conversation:
    """A talk: each question is answered in the light of all before it.

    Clips and pictures are decoded and encoded once, in the turn that shows them. Patches may be
    switched between turns; the talk is then read with those that are at work.

    Args:
        model: A `PatchedModel`.
        sampling: How answers are generated, of which there is one each; greedily when not given.

    Attributes:
        messages: What was said, as `PatchedModel.chat` takes it.

    Example:
        >>> talk = Conversation(model)  # doctest: +SKIP
        >>> talk.say("What do you hear?", video="concert.mp4")  # doctest: +SKIP
        'a violin'
        >>> "".join(talk.stream("How many of them?"))  # doctest: +SKIP
        'two'
    """

    def __init__(self, model: AnsweringModel, sampling: Sampling | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._model = model
        self._sampling = sampling or Sampling(max_new_tokens=256)
        if self._sampling.n > 1:
            raise ConfigError(
                "a conversation needs exactly one answer to each question; set n to 1"
            )
        self._turns: list[ChatTurn] = []
        self._memory: Memory = {}

    def say(
        self, content: str | Sequence[Mapping[str, Any]], *, video: Any = None, image: Any = None
    ) -> str:
        """The answer to what the user says next.

        Args:
            content: A text, or a list of parts (see `PatchedModel.chat`).
            video: A clip to show with a text.
            image: A picture to show with a text.

        Raises:
            PaveError: As `PatchedModel.chat`; the talk is then as it was before.
        """
        message, turns = self._next(content, video, image)
        (answer,) = reply(self._model, turns, self._sampling, self._memory)
        self._keep(message, turns, answer)
        return answer

    def stream(
        self, content: str | Sequence[Mapping[str, Any]], *, video: Any = None, image: Any = None
    ) -> Iterator[str]:
        """As `say`, piece by piece; what was told by then is kept where nobody takes the rest."""
        message, turns = self._next(content, video, image)
        pieces = reply_in_pieces(self._model, turns, self._sampling, self._memory)
        return self._told(pieces, message, turns)

    def _told(
        self, pieces: Iterator[str], message: dict[str, Any], turns: list[ChatTurn]
    ) -> Iterator[str]:
        told = ""
        try:
            for piece in pieces:
                told += piece
                yield piece
        except GeneratorExit:  # whoever took the pieces has left
            self._keep(message, turns, told)
            raise
        self._keep(message, turns, told)

    def _next(self, content: Any, video: Any, image: Any) -> tuple[dict[str, Any], list[ChatTurn]]:
        """The user's message, and the talk with it."""
        shown = []
        for kind, medium in (("video", video), ("image", image)):
            if medium is not None:
                shown.append({"type": kind, kind: medium})
        if shown:
            content = [*shown, {"type": "text", "text": content}]
        message = {"role": "user", "content": content}
        return message, [*self._turns, *turns_of([message])]

    def _keep(self, message: dict[str, Any], turns: list[ChatTurn], answer: str) -> None:
        self._turns = [*turns[:-1], ChatTurn(turns[-1].parts, answer)]
        self.messages += [message, {"role": "assistant", "content": answer}]
