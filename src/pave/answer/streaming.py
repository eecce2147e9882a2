"""An answer piece by piece, while it is generated.

transformers generates in a thread of its own and hands each token to a streamer. The pieces
together are the answer as it is given in one piece: what may still be taken off (white space at the
end, the beginning of a stop text, thinking) is held back until it is clear.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor
from transformers.generation import BaseStreamer

from pave.answer.generation import decode
from pave.answer.model import AnsweringModel
from pave.answer.sampling import Sampling
from pave.answer.thinking import MARK, opened_by, shown, without_thinking
from pave.bases import Base
from pave.bases.prompt import ChatFormat
from pave.errors import ConfigError

logger = logging.getLogger(__name__)

_OPENINGS = "<[\u25c1"  # what a mark of thinking begins with
_LONGEST_MARK = 24


class _Tokens(BaseStreamer):  # type: ignore[misc]  # transformers is untyped
    """Puts new tokens into a queue; None ends them."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[list[int] | None] = SimpleQueue()
        self._prompt = True

    def put(self, value: Tensor) -> None:
        """The prompt comes first, then a token at a time."""
        if not self._prompt:
            self.queue.put(value.flatten().tolist())
        self._prompt = False

    def end(self) -> None:
        """The answer is whole, or will never be."""
        self.queue.put(None)


def stream(
    model: AnsweringModel, inputs: dict[str, Any], sampling: Sampling, chat: ChatFormat
) -> Iterator[str]:
    """Pieces of one answer; whoever stops taking them stops the generation.

    Args:
        model: The model.
        inputs: Of its `generate`, one row.
        sampling: How; one answer, no beams.
        chat: The prompt's format, whose end may begin the thinking.

    Raises:
        ConfigError: If several answers or beams are asked for.
    """
    if sampling.n * sampling.beams > 1:
        raise ConfigError(
            "only one answer without beam search can be streamed; set n=1 and beams=1"
        )
    return _pieces(model, inputs, sampling, chat)


def _pieces(
    model: AnsweringModel, inputs: dict[str, Any], sampling: Sampling, chat: ChatFormat
) -> Iterator[str]:
    tokens = _Tokens()
    left = threading.Event()
    failures: list[BaseException] = []

    def leave(ids: Tensor, scores: Any, **_: Any) -> Tensor:
        return torch.full((len(ids),), left.is_set(), device=ids.device)

    def work() -> None:
        try:
            decode(model, inputs, sampling, [chat.stop_id], ended=[leave], streamer=tokens)
        except BaseException as error:  # raised again where the pieces are taken
            failures.append(error)
        finally:
            tokens.end()

    thread = threading.Thread(target=work, name="pave-answer", daemon=True)
    thread.start()
    told = Told(model.base, sampling, chat)
    stop = {*model.base.stop_ids, chat.stop_id}
    try:
        while (new := tokens.queue.get()) is not None:
            if piece := told.add([token for token in new if token not in stop]):
                yield piece
        if piece := told.rest():
            yield piece
    finally:
        left.set()
        thread.join()
    if failures:
        raise failures[0]


class Told:
    """The text of one answer while its tokens come; each piece is told once it stays as it is.

    Args:
        base: What reads the tokens.
        sampling: How they are generated.
        chat: The prompt's format, whose end may begin the thinking.

    Attributes:
        ids: The tokens so far.
        text: What they spell, stop texts and thinking included.
    """

    def __init__(self, base: Base, sampling: Sampling, chat: ChatFormat) -> None:
        self.ids: list[int] = []
        self.text = ""
        self._base = base
        self._sampling = sampling
        self._asked = chat.style.ask
        self._told = ""  # what was given away of it

    def add(self, ids: Sequence[int]) -> str:
        """What is clear now and was not before; often nothing."""
        self.ids += ids
        self.text = self._base.tokenizer.decode(self.ids, skip_special_tokens=True)
        clear = _clear(self.text, self._sampling, self._asked)
        # A mark that ends thinking nobody saw begin takes back what was told.
        if len(clear) <= len(self._told) or not clear.startswith(self._told):
            return ""
        piece = clear[len(self._told) :]
        self._told = clear
        return piece

    def answer(self) -> str:
        """All of the answer, when there are no more tokens."""
        if self._sampling.stop or MARK.search(self._asked + self.text):
            return shown(self.text, self._sampling, self._asked)
        return self.text.strip()

    def rest(self) -> str:
        """What of the whole answer was not told yet."""
        answer = self.answer()
        # What was told and turned out to be thinking cannot be taken back.
        if not answer.startswith(self._told):
            return f"\n{answer}"
        return answer[len(self._told) :]


def _clear(text: str, sampling: Sampling, asked: str) -> str:
    """The part of a growing text that stays, whatever follows."""
    for stop in sampling.stop:
        text = text.partition(stop)[0]
        for length in range(len(stop) - 1, 0, -1):
            text = text.removesuffix(stop[:length])
    if not sampling.thinking:
        text = opened_by(asked) + text
        place = max(map(text.rfind, _OPENINGS))
        if place >= 0 and len(text) - place < _LONGEST_MARK:
            # A mark that is whole needs no waiting.
            found = MARK.match(text, place)
            text = text if found else text[:place]
        if MARK.search(text):
            text = without_thinking(text)
    # Half a character decodes as U+FFFD.
    return text.rstrip("\ufffd").strip()
