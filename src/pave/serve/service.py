"""`Service`: a model and all that its requests share, without HTTP.

A request's way: its media become files (`sources`, `content`), the files become what the frozen
parts make of them (`reading`), and the question goes into the queue of the model's thread
(`engine`), which tells of every new piece of the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pave.answer.messages import ChatTurn, ImagePart, Part, VideoPart
from pave.arguments import as_kind
from pave.data import ClipFeatures
from pave.model import PatchedModel
from pave.model.chosen import chosen
from pave.serve.content import SentClip, Talk, talk_of
from pave.serve.engine import Engine
from pave.serve.failures import BUSY, TOO_LATE, RequestError
from pave.serve.limits import Limits
from pave.serve.memory import Memory, size_of_clip
from pave.serve.metrics import Metrics
from pave.serve.names import base_id, choice
from pave.serve.reading import Order, Reader
from pave.serve.rows import Event, Job, Piece, Started
from pave.serve.sources import Source, Sources, scratch
from pave.serve.wire import ChatRequest
from pave.texts import counted

_AT_A_TIME = 2
"""Clips that are decoded or wait for the tower: their frames are the largest thing of a request."""


@dataclass(frozen=True)
class Shown:
    """The media of a request, ready for the model.

    Attributes:
        turns: The talk, with what was seen in place of files.
        key: Equal for equal clips.
        absent: Patches that are off, since no clip has their channel.
    """

    turns: list[ChatTurn]
    key: tuple[Any, ...]
    absent: list[str]


class Running:
    """A request on its way; `close` it, whatever becomes of it.

    Attributes:
        started: What is known of the prompt, once it is answered.
        weights: Patches that were chosen, and their weights.
        absent: Those of them that are off, since no clip has their channel.
        arrived: `time.monotonic()` of its arrival.
    """

    def __init__(self, service: Service, arrived: float) -> None:
        self.started = Started(0, 0)
        self.weights: dict[str, float] = {}
        self.absent: list[str] = []
        self.arrived = arrived
        self._service = service
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._job: Job | None = None
        self._open = True

    def submit(self, engine: Engine, job: Job) -> None:
        """Put it into the queue."""
        self._job = job  # to be stopped by `close`
        engine.submit(job)

    async def pieces(self, answers: int) -> AsyncIterator[Piece]:
        """New pieces of its answers, up to the last of the last one.

        Raises:
            RequestError: If it takes too long.
            PaveError: If it cannot be answered.
        """
        limit = self._service.limits.max_request_seconds
        while answers:
            left = self.arrived + limit - time.monotonic()
            try:
                event = await asyncio.wait_for(self._events.get(), max(0, left))
            except TimeoutError:
                raise too_late(limit) from None
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Started):
                self.started = event
                continue
            answers -= event.reason is not None  # one of them is whole
            yield event
        self._service.metrics.add("request_seconds_sum", time.monotonic() - self.arrived)
        self._service.metrics.add("request_seconds_count")

    def hear(self, event: Event) -> None:
        """Take an event."""
        self._events.put_nowait(event)

    def close(self) -> None:
        """Give the place in the queue back, and stop what nobody waits for."""
        if self._open:
            self._open = False  # a stream may be closed twice
            self._service.in_progress -= 1
        if self._job is not None:
            self._job.gone.set()


class Service:
    """Answers requests with one model.

    Args:
        model: The model with all patches, each under the name that requests use.
        base: What requests call the base; its own name when not given.
        limits: What one request may ask for.
        folder: Files below it may be named in requests.
        fetch: Whether http and https addresses may be.

    Attributes:
        in_progress: Requests that have not been answered yet.

    Example:
        >>> service = Service(model)  # doctest: +SKIP
        >>> app = make_app(service)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PatchedModel,
        *,
        base: str | None = None,
        limits: Limits | None = None,
        folder: Path | None = None,
        fetch: bool = False,
    ) -> None:
        self.model = as_kind(model, PatchedModel, "a service answers with a PatchedModel")
        self.base = base_id(model.base.name)
        if base is not None:
            self.base = as_kind(base, str, "the name of the base is a text")
        self.limits = Limits()
        if limits is not None:
            self.limits = as_kind(limits, Limits, "limits are pave.serve.Limits")
        self.metrics = Metrics()
        self.in_progress = 0
        self.memory = Memory(self.limits.cache_mb * 10**6)
        self.engine = Engine(model, self.memory, self.metrics)
        self._reader = Reader(model, self.limits)
        self._sources = Sources(self.limits, folder, fetch)
        self._scratch = scratch()
        self._reading: dict[Any, asyncio.Task[ClipFeatures]] = {}
        self._places: dict[int, asyncio.Semaphore] = {}

    @property
    def folder(self) -> str:
        """Where files of requests go, and end with the server at the latest."""
        return self._scratch.name

    def enter(self) -> Running:
        """A place in the queue.

        Raises:
            RequestError: If it is full.
        """
        if self.in_progress >= self.limits.max_queue:
            raise RequestError(
                f"the queue is full (max_queue: {counted(self.limits.max_queue, 'request')}); "
                "try again later",
                503,
                code=BUSY,
            )
        self.in_progress += 1
        return Running(self, time.monotonic())

    async def begin(self, asked: ChatRequest, running: Running) -> None:
        """Read a request's media and put it into the queue.

        Raises:
            RequestError: If something of it is refused, or reading takes too long.
            PaveError: If its media cannot be read.
        """
        sampling = asked.sampling(self.limits)
        running.weights = choice(asked.model, self.base, self.model.patches)
        limit = self.limits.max_request_seconds
        try:
            async with asyncio.timeout(running.arrived + limit - time.monotonic()):
                shown = await self._show(asked, running.weights)
        except TimeoutError:
            raise too_late(limit) from None
        running.absent = shown.absent
        loop = asyncio.get_running_loop()

        def tell(event: Event) -> None:
            # The loop has ended where a server was stopped in the middle.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(running.hear, event)

        job = Job(
            weights=running.weights,
            turns=shown.turns,
            sampling=sampling,
            tell=tell,
            top=asked.top,
            clip=shown.key,
            around=self.in_progress,
            arrived=running.arrived,
        )
        job.company = self.engine.company(job)
        running.submit(self.engine, job)

    async def answers(self, asked: ChatRequest) -> list[str]:
        """All answers to a request, for callers in this process.

        Raises:
            PaveError: As `enter`, `begin` and `Running.pieces`.
        """
        texts = [""] * (asked.n or 1)
        running = self.enter()
        try:
            await self.begin(asked, running)
            async for piece in running.pieces(len(texts)):
                texts[piece.index] += piece.text
        finally:
            running.close()
        return texts

    async def seen(self, clip: SentClip, weights: dict[str, float]) -> ClipFeatures:
        """What the frozen parts make of a clip for some patches.

        Raises:
            PaveError: If it cannot be read.
        """
        order = self._reader.order(clip, chosen(self.model.patches, weights))
        return await self._features(order, [])

    async def looked_at(self, clip: SentClip, weights: dict[str, float], heard: Source) -> Any:
        """What a page shows of a clip, as a `pave.serve.figure.Look`."""
        order = self._reader.order(clip, chosen(self.model.patches, weights))
        return await asyncio.to_thread(self._reader.look, order, heard)

    async def _show(self, asked: ChatRequest, weights: dict[str, float]) -> Shown:
        """The talk of a request with what was seen of its media."""
        # Of this request alone; what is read of it outlives it in memory.
        place = Path(tempfile.mkdtemp(dir=self._scratch.name))
        tasks: list[asyncio.Task[ClipFeatures]] = []
        try:
            # Base64 of many megabytes takes longer than others should wait.
            talk = await asyncio.to_thread(talk_of, asked.messages, self._sources, place)
            return await self._seen(talk, weights, tasks)
        finally:
            self._remove(place, tasks)

    async def _seen(
        self, talk: Talk, weights: dict[str, float], tasks: list[asyncio.Task[ClipFeatures]]
    ) -> Shown:
        patches = chosen(self.model.patches, weights)
        parts: dict[int, Part] = {}  # by the id of the part that is replaced
        keys = []
        heard: set[str] = set()  # patches whose channel some clip has
        for clip, part in talk.clips:
            order = self._reader.order(clip, patches)
            features = await self._features(order, tasks)
            parts[id(part)] = VideoPart(features)
            keys.append(order.key)
            heard |= features.channels.keys()
        for source, picture in talk.pictures:
            pixels = await asyncio.to_thread(self._reader.picture, source)
            parts[id(picture)] = ImagePart(pixels)
        turns = []
        for turn in talk.turns:
            replaced = tuple(parts.get(id(part), part) for part in turn.parts)
            turns.append(replace(turn, parts=replaced))
        absent: list[str] = []
        for patch in patches.values():
            # Of several channels each that nobody sent.
            keys_of = {part.key for part in patch.parts.values() if patch.weight != 0}
            absent += sorted(keys_of - heard)
        return Shown(turns, tuple(keys), absent)

    async def _features(
        self, order: Order, tasks: list[asyncio.Task[ClipFeatures]]
    ) -> ClipFeatures:
        """What is seen of a clip: kept, being made for another request, or made now."""
        found: ClipFeatures | None = self.memory.get(order.key)
        if found is not None:
            self.metrics.add("clips_kept_total")
            return found
        task = self._reading.get(order.key)
        if task is None:
            task = asyncio.create_task(self._read(order))
            self._reading[order.key] = task
            task.add_done_callback(partial(self._was_read, order.key))
            tasks.append(task)
        # Others may wait for it, too: it goes on when this request is given up.
        return await asyncio.shield(task)

    def _was_read(self, key: Any, task: asyncio.Task[ClipFeatures]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # an error that nobody waits for any more is no mistake

    async def _read(self, order: Order) -> ClipFeatures:
        async with self._place():
            read = await asyncio.to_thread(self._reader.read, order)
            # The tower is part of the model, which one thread runs.
            work = self.engine.run(partial(self._reader.see, order, read))
            features = await asyncio.wrap_future(work)
        self.metrics.add("clips_read_total")
        self.memory.put(order.key, features, size_of_clip(features))
        return features

    def _place(self) -> asyncio.Semaphore:
        """Of the loop that runs now; a test's client has one for each call."""
        loop = id(asyncio.get_running_loop())
        return self._places.setdefault(loop, asyncio.Semaphore(_AT_A_TIME))

    def _remove(self, place: Path, tasks: Sequence[asyncio.Task[ClipFeatures]]) -> None:
        """Remove a request's files, when nobody reads them any more."""
        left = [task for task in tasks if not task.done()]

        def done(_: Any) -> None:
            if all(task.done() for task in left):
                shutil.rmtree(place, ignore_errors=True)

        for task in left:
            task.add_done_callback(done)
        if not left:
            shutil.rmtree(place, ignore_errors=True)

    def warm(self) -> None:
        """Do now what the first request would wait for."""
        self._reader.warm()

    def close(self) -> None:
        """Answer what waits, let the workers go, and remove what is on disk."""
        self.engine.close()
        self._reader.close()
        self._scratch.cleanup()

    def figures(self) -> str:
        """Counts, as Prometheus reads them."""
        gauges = {
            "requests_in_progress": self.in_progress,
            "requests_waiting": self.engine.waiting,
            "memory_bytes": self.memory.bytes,
        }
        return self.metrics.text(gauges)

    def models(self) -> list[dict[str, Any]]:
        """The base and the patches, as OpenAI's clients list models."""
        found = [self._model(self.base, "base", None)]
        for name, patch in self.model.patches.items():
            # Of a LoRA alone null.
            channel = ", ".join(patch.parts) or None
            found.append(self._model(name, "patch", channel))
        return found

    def _model(self, name: str, kind: str, channel: str | None) -> dict[str, Any]:
        about = {"kind": kind, "channel": channel}
        return {"id": name, "object": "model", "created": 0, "owned_by": "pave", "pave": about}


def too_late(limit: int) -> RequestError:
    """The refusal of a request that takes too long."""
    return RequestError(
        f"the request took longer than the limit of {limit} s (max_request_seconds); ask for fewer "
        "tokens, or try again when the server is less busy",
        408,
        code=TOO_LATE,
    )
