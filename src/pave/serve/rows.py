"""One generation with several answers: each row has its own length, stop texts, listener and end.

transformers generates rows together, hands their new tokens to a streamer, and asks a criterion
which of them are done. `Rows` is both, and tells each request about its own row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.generation import BaseStreamer

from pave.answer import Sampling
from pave.answer.messages import ChatTurn
from pave.answer.streaming import Told
from pave.bases import Base
from pave.bases.prompt import ChatFormat
from pave.serve.metrics import Metrics

Reason = Literal["stop", "length"]


@dataclass(frozen=True)
class Piece:
    """What is new of one answer.

    Attributes:
        index: Which answer of the request.
        text: The new text.
        marks: Log-probabilities of tokens that came since the last piece; None if nobody asked.
        reason: Why the answer ends here; None where it goes on.
        tokens: New tokens of the whole answer, at its end.
    """

    index: int
    text: str
    marks: list[dict[str, Any]] | None
    reason: Reason | None = None
    tokens: int = 0


@dataclass(frozen=True)
class Started:
    """The request is being answered.

    Attributes:
        prompt: Tokens of its prompt.
        cached: How many of them were read for an earlier question.
    """

    prompt: int
    cached: int


Event = Started | Piece | BaseException
Tell = Callable[[Event], None]
"""Called in the model's thread."""


@dataclass(eq=False)
class Job:
    """A request that waits for the model.

    Attributes:
        weights: Patches at work.
        turns: What is said and shown.
        sampling: How the answer is drawn.
        tell: Where events go.
        top: Likely tokens told beside each token; None for no log-probabilities.
        clip: Equal for requests about equal clips.
        around: Requests in progress when it came, itself included.
        company: Equal for requests that may share a forward pass; None for one that goes alone.
        arrived: `time.monotonic()` of the request's arrival.
        gone: Set when the client has left.
    """

    weights: dict[str, float]
    turns: Sequence[ChatTurn]
    sampling: Sampling
    tell: Tell
    top: int | None = None
    clip: Hashable = None
    around: int = 1
    company: Hashable = None
    arrived: float = field(default_factory=time.monotonic)
    gone: threading.Event = field(default_factory=threading.Event)


class _Row:
    """One answer while it is generated."""

    def __init__(self, job: Job, index: int, told: Told) -> None:
        self.job = job
        self.index = index
        self.told = told
        self.text = ""  # told so far
        self.tokens = 0  # with the one that ended it, as servers count
        self.marks: list[dict[str, Any]] = []
        self.done = False


class Rows(BaseStreamer):  # type: ignore[misc]  # transformers is untyped
    """The rows of one generation: streamer, criterion, and recorder of log-probabilities.

    Args:
        base: The base.
        chat: The chat format of the prompts.
        jobs: The requests; one of several answers comes alone.
        metrics: Where tokens are counted.
    """

    def __init__(self, base: Base, chat: ChatFormat, jobs: Sequence[Job], metrics: Metrics) -> None:
        self._base = base
        self._stop = {*base.stop_ids, chat.stop_id}
        self._metrics = metrics
        self._prompt = True  # is what comes next
        self._scores: dict[int, Tensor] = {}  # row -> [vocabulary] log-probabilities of now
        self.rows: list[_Row] = []
        for job in jobs:
            for index in range(job.sampling.n):
                self.rows.append(_Row(job, index, Told(base, job.sampling, chat)))

    def put(self, value: Tensor) -> None:
        """The prompts come first, then a token for each row."""
        if self._prompt:
            self._prompt = False
            return
        for number, (row, token) in enumerate(zip(self.rows, value.tolist(), strict=True)):
            if not row.done:
                self._take(row, token, self._scores.get(number))

    def end(self) -> None:
        """No more tokens."""

    def stopped(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Which rows are done: transformers' stopping criterion."""
        # Nobody reads the rest of a row whose client has gone.
        flags = [row.done or row.job.gone.is_set() for row in self.rows]
        return torch.tensor(flags, device=ids.device)

    def record(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Keep the model's own log-probabilities: transformers' logits processor."""
        # Before temperature and top_p, which come after it in the list.
        self._scores = {}
        for number, row in enumerate(self.rows):
            if row.job.top is not None and not row.done:
                self._scores[number] = scores[number].float().log_softmax(-1)
        return scores

    def _take(self, row: _Row, token: int, scores: Tensor | None) -> None:
        """One new token of one answer."""
        if row.tokens == 0 and row.index == 0:
            self._metrics.add("first_token_seconds_sum", time.monotonic() - row.job.arrived)
            self._metrics.add("first_token_seconds_count")
        row.tokens += 1
        self._metrics.add("answer_tokens_total")
        # An end token is counted, as by other servers, but never shown.
        if token in self._stop:
            self._finish(row, "stop")
            return
        if scores is not None:
            row.marks.append(self._mark(token, scores, row.job.top or 0))
        piece = row.told.add([token])
        if any(stop in row.told.text for stop in row.job.sampling.stop):
            self._finish(row, "stop", piece)
        elif row.tokens >= row.job.sampling.max_new_tokens:
            self._finish(row, "length", piece)
        elif piece:
            row.job.tell(Piece(row.index, piece, self._new_marks(row)))

    def _finish(self, row: _Row, reason: Reason, piece: str = "") -> None:
        row.done = True
        text = piece + row.told.rest()
        row.job.tell(Piece(row.index, text, self._new_marks(row), reason, row.tokens))

    def _new_marks(self, row: _Row) -> list[dict[str, Any]] | None:
        if row.job.top is None:
            return None
        marks, row.marks = row.marks, []
        return marks

    def _mark(self, token: int, scores: Tensor, top: int) -> dict[str, Any]:
        """A token's log-probability, and those of the likeliest ones."""
        likely = []
        values, ids = scores.topk(top)
        for value, other in zip(values.tolist(), ids.tolist(), strict=True):
            likely.append(self._spelt(other, value))
        return {**self._spelt(token, float(scores[token])), "top_logprobs": likely}

    def _spelt(self, token: int, value: float) -> dict[str, Any]:
        # A part of a character alone decodes as U+FFFD.
        text = self._base.tokenizer.decode([token])
        return {"token": text, "logprob": value, "bytes": list(text.encode())}
