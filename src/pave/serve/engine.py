"""`Engine`: the one thread that runs the model, and the queue in front of it.

Requests of different patches follow each other; those about the same clip with the same patches,
which draw greedily, go through the language model together behind one prefix. The prefix's keys and
values are kept, so that a later question about the clip begins where the clip ends.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import LogitsProcessorList, StoppingCriteriaList

from pave.answer import AnsweringModel, Questions, Sampling, questions_about
from pave.answer.chatting import inputs_of
from pave.answer.generation import decode, read_prefix, rows_of, shared_prefix
from pave.answer.messages import VideoPart
from pave.bases import why_no_shared_prefix
from pave.data import ClipFeatures
from pave.errors import PaveError
from pave.model import PatchedModel
from pave.model.chosen import Chosen
from pave.serve.memory import Memory, size_of_cache
from pave.serve.metrics import Metrics
from pave.serve.rows import Job, Rows, Started

logger = logging.getLogger(__name__)

T = TypeVar("T")
TOGETHER = 16
"""Requests that are answered at a time: each holds a copy of the clip's keys and values."""


class Engine:
    """Answers requests, one batch after the other.

    Args:
        model: The model; from now on this thread alone runs it.
        memory: Keeps prefixes.
        metrics: Counts.
    """

    def __init__(self, model: PatchedModel, memory: Memory, metrics: Metrics) -> None:
        self._model = model
        self._memory = memory
        self._metrics = metrics
        # Some attention allows no shared prefix; then each request goes alone.
        self._shares = why_no_shared_prefix(model.base) is None
        # Families with several axes keep where text goes on behind a clip in the model itself; a
        # prefix of theirs is good for the batch that has read it.
        self._keeps = not model.base.family.mrope
        self._errands: deque[Callable[[], None]] = deque()
        self._jobs: list[Job] = []
        self._closing = False
        self._something = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="pave-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that have not begun."""
        return len(self._jobs)

    @property
    def alive(self) -> bool:
        """Whether anything will ever be answered."""
        return self._thread.is_alive()

    def company(self, job: Job, clip: Hashable) -> Hashable:
        """What requests have in common that may share a forward pass.

        Args:
            job: The request.
            clip: Equal for equal clips.

        Returns:
            None for a request that goes alone: it draws, or asks something else than one question
            about one clip, or the base's attention allows no shared prefix.
        """
        if not self._shares or job.sampling.temperature > 0 or not _is_one_question(job):
            return None
        return (clip, tuple(sorted(job.weights.items())))

    def submit(self, job: Job) -> None:
        """Put a request into the queue; its `tell` hears of it from then on."""
        with self._something:
            self._jobs.append(job)
            self._something.notify()

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Do something else with the model, before the next batch."""
        future: Future[T] = Future()

        def errand() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                with torch.no_grad():
                    future.set_result(work())  # wakes whoever waits for it
            except BaseException as error:
                future.set_exception(error)

        with self._something:
            self._errands.append(errand)
            self._something.notify()
        return future

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._something:
            self._closing = True
            self._something.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._something:
                while not (self._errands or self._jobs or self._closing):
                    self._something.wait()
                if self._errands:
                    errand, batch = self._errands.popleft(), []
                elif self._jobs:
                    errand, batch = None, self._take()
                else:
                    return  # closing, and nothing is left
            if errand is not None:
                errand()
            else:
                self._answer(batch)

    def _take(self) -> list[Job]:
        """The first request, and those that can go with it."""
        first = self._jobs.pop(0)
        batch, rest = [first], []  # the others keep their order
        for job in self._jobs:
            fits = first.company is not None and job.company == first.company
            if fits and len(batch) < TOGETHER:
                batch.append(job)
            else:
                rest.append(job)
        self._jobs = rest
        return batch

    def _answer(self, batch: Sequence[Job]) -> None:
        """Answer a batch; whatever goes wrong, the next one is answered."""
        jobs = [job for job in batch if not job.gone.is_set()]
        if not jobs:
            return
        self._metrics.add("batches_total")
        self._metrics.add("batched_requests_total", len(jobs))
        try:
            with torch.no_grad():
                self._generate(jobs)
        except Exception as error:
            if not isinstance(error, PaveError):
                logger.exception("answering failed")
            for job in jobs:
                job.tell(error)

    def _generate(self, jobs: Sequence[Job]) -> None:
        model = Chosen(self._model, jobs[0].weights)
        if jobs[0].company is not None:
            self._generate_behind_clip(model, jobs)
            return
        (job,) = jobs
        inputs, chat = inputs_of(model, job.turns, {})
        rows = Rows(model.base, chat, jobs, self._metrics)
        self._begin(job, inputs["input_ids"].shape[1], 0)
        decode(model, inputs, _whole(job.sampling), None, [chat.stop_id], **_with(rows))

    def _generate_behind_clip(self, model: AnsweringModel, batch: Sequence[Job]) -> None:
        """Questions about one clip, behind its prefix."""
        jobs, asked = [], []
        for job in batch:
            features, question = _clip_and_question(job)
            try:
                asked.append(questions_about(model, features, [[(question, None)]]))
            except PaveError as error:  # too long: the others are not
                job.tell(error)
                continue
            jobs.append(job)
        if not jobs:
            return
        # One prefix for all: same clip, same patches, hence the same chat format.
        together = replace(asked[0], asked=[one.asked[0] for one in asked])
        chat = together.chat or model.base.chat
        rows = Rows(model.base, chat, jobs, self._metrics)
        # A row ends by itself before that, at the length its own request asked for.
        longest = max(job.sampling.max_new_tokens for job in jobs)
        key = ("prefix", jobs[0].company)
        kept = self._memory.get(key)
        for job, one in zip(jobs, asked, strict=True):
            begin = len(one.prefix)
            self._begin(job, begin + len(one.asked[0]), 0 if kept is None else begin)
        decode(
            model,
            rows_of(model.base, [together], whole=False),
            Sampling(longest),  # greedy; each row looks for its own stop texts
            partial(self._prefix, model, together, key, kept),
            [chat.stop_id],
            **_with(rows),
        )

    def _prefix(
        self, model: AnsweringModel, together: Questions, key: Hashable, kept: Any
    ) -> dict[str, Any]:
        """The clip's keys and values: those that were kept, or read now and kept."""
        self._metrics.add("prefixes_read_total" if kept is None else "prefixes_kept_total")
        if kept is None:
            kept = read_prefix(model, [together])
            if self._keeps:
                self._memory.put(key, kept, size_of_cache(kept))
        # What is kept stays as it is: generating adds to the copy.
        return shared_prefix(model, [together], copy.deepcopy(kept))

    def _begin(self, job: Job, prompt: int, cached: int) -> None:
        self._metrics.add("prompt_tokens_total", prompt)
        job.tell(Started(prompt, cached))


def _clip_and_question(job: Job) -> tuple[ClipFeatures, str]:
    """Of a request that asks one question about one clip."""
    clip, question = job.turns[0].parts
    assert isinstance(clip, VideoPart) and isinstance(clip.video, ClipFeatures)
    assert isinstance(question, str)
    return clip.video, question


def _is_one_question(job: Job) -> bool:
    """Whether it is a clip and a question in this order, and nothing else."""
    if len(job.turns) != 1 or len(job.turns[0].parts) != 2:
        return False
    if job.turns[0].system is not None:  # it stands in the prefix that others share
        return False
    clip, question = job.turns[0].parts
    return isinstance(clip, VideoPart) and isinstance(question, str)


def _whole(sampling: Sampling) -> Sampling:
    """Without stop texts, which each row looks for by itself."""
    return replace(sampling, stop=())


def _with(rows: Rows) -> dict[str, Any]:
    """Arguments of `generate` that hand it the rows."""
    return {
        "streamer": rows,
        "stopping_criteria": StoppingCriteriaList([rows.stopped]),
        "logits_processor": LogitsProcessorList([rows.record]),
    }
