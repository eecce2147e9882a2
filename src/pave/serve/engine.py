"""`Engine`: the one thread that runs the model, and the queue in front of it.

Requests of different patches follow each other; questions about clips with the same patches, which
draw greedily, go through the language model together, each behind its clip's prefix. A prefix's
keys and values are kept, so that a later question about the clip begins where the clip ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from transformers import LogitsProcessorList

from pave.answer import AnsweringModel, Questions, Sampling, questions_about
from pave.answer.chatting import inputs_of
from pave.answer.generation import answering, decode, decode_behind
from pave.answer.messages import VideoPart
from pave.answer.packed import is_even
from pave.answer.prefixes import Prefix, read_prefixes
from pave.answer.questions import apart
from pave.bases import why_no_shared_prefix
from pave.data import ClipFeatures
from pave.errors import PaveError
from pave.model import PatchedModel
from pave.model.chosen import Chosen
from pave.serve.memory import Memory
from pave.serve.metrics import Metrics
from pave.serve.rows import Job, Rows, Started

logger = logging.getLogger(__name__)

T = TypeVar("T")
TOGETHER = 16
"""Requests that are answered at a time: each may hold a copy of the clip's keys and values."""
PAUSE = (0.01, 0.25)
"""Seconds in which nobody comes before a batch begins that others are expected for: at least, and
at most; between them a twentieth of the last batch's time, so that a busy machine waits longer."""


@dataclass
class _Group:
    """Requests about one clip.

    Attributes:
        first: What is seen before the first one's question, and before all others'.
        prefix: What the language model made of that.
        jobs: The requests.
        asked: Ids of their questions.
    """

    first: Questions
    prefix: Prefix
    jobs: list[Job] = field(default_factory=list)
    asked: list[list[int]] = field(default_factory=list)


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
        self._errands: deque[Callable[[], None]] = deque()
        self._jobs: list[Job] = []
        self._around = 0  # requests that were there when the last batch was taken
        self._pause = PAUSE[0]
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

    def company(self, job: Job) -> Hashable:
        """What requests have in common that may share a forward pass.

        Returns:
            None for a request that goes alone: it draws, or asks something else than one question
            about one clip, or the base's attention allows no shared prefix.
        """
        if not self._shares or job.sampling.temperature > 0 or not _is_one_question(job):
            return None
        clip, _ = _clip_and_question(job)
        # Clips with the same channels have the same patches at work.
        channels = tuple(sorted(clip.channels))
        # Rows are as long as the longest one, so clips of like length go together.
        length = clip.visual.layout.total.bit_length()
        return (tuple(sorted(job.weights.items())), channels, length)

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
                    self._gather()
                    errand, batch = None, self._take()
                else:
                    return  # closing, and nothing is left
            if errand is not None:
                errand()
            else:
                self._answer(batch)

    def _gather(self) -> None:
        """Wait a little for requests to share a pass with; whoever is alone waits for nobody.

        Those who were answered together often ask on together, and some are being read now.
        """
        around = max(job.around for job in self._jobs)
        expected = min(max(around, self._around), TOGETHER)
        while len(self._jobs) < expected and not self._closing:
            if not self._something.wait(self._pause):
                break

    def _take(self) -> list[Job]:
        """The first request, and those that can go with it."""
        self._around = len(self._jobs)
        first, *others = self._jobs
        batch = [first]
        for job in others:
            fits = first.company is not None and job.company == first.company
            if fits and len(batch) < TOGETHER:
                batch.append(job)
        batch = _packable(batch)
        for job in batch:
            self._jobs.remove(job)  # the others keep their order
        return batch

    def _answer(self, batch: Sequence[Job]) -> None:
        """Answer a batch; whatever goes wrong, the next one is answered."""
        jobs = [job for job in batch if not job.gone.is_set()]
        if not jobs:
            return
        self._metrics.add("batches_total")
        self._metrics.add("batched_requests_total", len(jobs))
        begin = time.monotonic()
        try:
            with torch.no_grad():
                self._generate(jobs)
        except Exception as error:
            if not isinstance(error, PaveError):
                logger.exception("answering failed")
            for job in jobs:
                job.tell(error)
        least, most = PAUSE
        self._pause = min(max(least, (time.monotonic() - begin) / 20), most)

    def _generate(self, jobs: Sequence[Job]) -> None:
        model = Chosen(self._model, jobs[0].weights)
        if jobs[0].company is not None:
            self._generate_behind_clips(model, jobs)
            return
        (job,) = jobs
        inputs, chat = inputs_of(model, job.turns, {})
        rows = Rows(model.base, chat, jobs, self._metrics)
        self._begin(job, inputs["input_ids"].shape[1], 0)
        decode(model, inputs, _whole(job.sampling), [chat.stop_id], **_with(rows))

    def _generate_behind_clips(self, model: AnsweringModel, batch: Sequence[Job]) -> None:
        """Questions about clips, each clip's behind its prefix."""
        with answering(model):
            groups: dict[Hashable, _Group] = {}  # by clip, and what is muted of it
            for job in batch:
                features, question = _clip_and_question(job)
                try:
                    one = questions_about(model, features, [[(question, None)]])
                    self._put(model, job, one, groups)
                except PaveError as error:  # too long, or no numbers: the others are not
                    job.tell(error)
            if groups:
                self._generate_groups(model, list(groups.values()))

    def _generate_groups(self, model: AnsweringModel, groups: Sequence[_Group]) -> None:
        clips, prefixes = [], []
        jobs: list[Job] = []  # in the order of the rows
        # A row of `generate` for each job.
        for group in groups:
            jobs += group.jobs
            clips.append(replace(group.first, asked=group.asked))
            prefixes.append(group.prefix)
        # The same patches are at work on all of them, hence one chat format.
        chat = clips[0].chat or model.base.chat
        rows = Rows(model.base, chat, jobs, self._metrics)
        # Greedy; each row looks for its own end, which may come before the longest one's.
        longest = Sampling(max(job.sampling.max_new_tokens for job in jobs))
        decode_behind(model, clips, prefixes, longest, [chat.stop_id], **_with(rows))

    def _put(
        self, model: AnsweringModel, job: Job, one: Questions, groups: dict[Hashable, _Group]
    ) -> None:
        """Put a request beside others about its clip."""
        # What its question closes is muted from here on.
        closed = one.closed[0] if one.closed else frozenset()
        (one,), _ = apart([one])
        begin = len(one.prefix)
        group = groups.get((job.clip, closed))
        if group is None:
            kept, prefix = self._prefix(model, job, one, closed)
            group = groups[job.clip, closed] = _Group(one, prefix)
        else:
            kept = True
        self._begin(job, begin + len(one.asked[0]), begin if kept else 0)
        self._metrics.add("prefixes_kept_total" if kept else "prefixes_read_total")
        group.jobs.append(job)
        group.asked += one.asked

    def _prefix(
        self, model: AnsweringModel, job: Job, asked: Questions, closed: frozenset[str]
    ) -> tuple[bool, Prefix]:
        """Whether the prefix of a clip was kept since an earlier request, and the prefix."""
        # It depends on the patches, their weights, and what is muted.
        key = ("prefix", job.clip, tuple(sorted(job.weights.items())), closed)
        kept: Prefix | None = self._memory.get(key)
        if kept is not None:
            return True, kept
        (read,) = read_prefixes(model, [asked])
        self._memory.put(key, read, read.nbytes)
        return False, read

    def _begin(self, job: Job, prompt: int, cached: int) -> None:
        self._metrics.add("prompt_tokens_total", prompt)
        job.tell(Started(prompt, cached))


def _packable(batch: Sequence[Job]) -> list[Job]:
    """The first request and those of a batch with which it packs well.

    A clip that many ask about goes by itself: beside it, the rows of others would be padding.
    """
    jobs = list(batch)
    first = jobs[0]
    while True:
        counts: Counter[Hashable] = Counter()
        for job in jobs:
            counts[job.clip] += 1
        if is_even(list(counts.values())):
            return jobs
        ((most, _),) = counts.most_common(1)
        by_itself = first.clip == most
        jobs = [job for job in jobs if (job.clip == most) == by_itself]


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
    """Arguments of `decode` that hand it the rows."""
    return {
        "streamer": rows,
        "ended": [rows.stopped],
        "logits_processor": LogitsProcessorList([rows.record]),
    }
