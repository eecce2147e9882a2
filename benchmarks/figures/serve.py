"""Questions to `pave serve`: many clients against one, and the first token.

The service runs in this process, without HTTP, on `smol` with a patch of the demo's size. Clips are
decoded in its worker; what a clip gave is kept, as in any server.

- "first token": seconds from a request to its first piece, of the second question about a clip
  against the first one.
- "same clip": 16 clients ask a question each about one clip, against one client that asks the same
  server the same questions one after the other. Both find the clip and its prefix in memory.
- "different clips": the same with two questions about each of 8 clips.

Answers are words of one or two tokens; those of "long answers" have 64, since the model may not end
them. They are compared, too: company changes none. CPU seconds are those of the model's process.
Each is measured with one thread, and where there are two cores with two.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import Pair, Row, cpu_seconds
from videos import bench

from pave.serve import Service
from pave.serve.wire import request_of

CLIENTS = 16
CLIPS = 8
TOKENS = 16
LONG = 64
REPEATS = 3

Bodies = Sequence[dict[str, Any]]


def request(clip: str, question: str, tokens: int = TOKENS) -> dict[str, Any]:
    """The body of a request about a served file."""
    video = {"type": "video_url", "video_url": {"url": f"file:{Path(clip).name}", "frames": 32}}
    content = [video, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    return {"model": "sound", "messages": messages, "max_tokens": tokens}


async def answer(service: Service, body: dict[str, Any]) -> tuple[str, float]:
    """Ask; the answer, and seconds to its first piece."""
    running = service.enter()
    text, first = "", 0.0
    try:
        await service.begin(request_of(body), running)
        async for piece in running.pieces(1):
            text += piece.text
            first = first or time.monotonic() - running.arrived
    finally:
        running.close()
    return text, first


def spent(service: Service, bodies: Bodies, together: bool) -> tuple[float, float, list[str]]:
    """CPU seconds, seconds of the wall, and the answers."""

    async def ask() -> list[tuple[str, float]]:
        if together:
            return await asyncio.gather(*(answer(service, body) for body in bodies))
        return [await answer(service, body) for body in bodies]

    before = (cpu_seconds(), time.perf_counter())
    answers = asyncio.run(ask())
    texts = [text for text, _ in answers]
    return cpu_seconds() - before[0], time.perf_counter() - before[1], texts


def compared(
    service: Service, title: str, bodies: Bodies, promise: float | None, repeats: int = REPEATS
) -> list[Row]:
    """Many clients and one, in turn."""
    cpu: list[tuple[float, float]] = []
    wall: list[tuple[float, float]] = []
    for _ in range(repeats):
        ours = spent(service, bodies, together=True)
        peer = spent(service, bodies, together=False)
        if ours[2] != peer[2]:
            raise RuntimeError(f"{title}: answers differ in company: {ours[2]}, {peer[2]}")
        cpu.append((ours[0], peer[0]))
        wall.append((ours[1], peer[1]))
    rows = []
    for unit, pairs, least in (("CPU s", cpu, promise), ("s of the wall", wall, None)):
        ours_median, peer_median = map(statistics.median, zip(*pairs, strict=True))
        pair = Pair(ours_median, peer_median, repeats)
        note = f"{threads_of(service)} thread(s); 32 frames; same answers"
        figure = f"serve, {title}, {len(bodies)} clients, against one"
        rows.append(Row.gain(figure, pair, f"{unit} for {len(bodies)} answers", least, note))
    return rows


def threads_of(service: Service) -> int:
    """Threads of the products in the thread that runs the model."""
    return service.engine.run(torch.get_num_threads).result()


@contextmanager
def endless(service: Service) -> Iterator[None]:
    """For the time of the context no answer ends before its longest length."""
    config = service.model.base.model.generation_config
    config.suppress_tokens = service.model.base.stop_ids
    try:
        yield
    finally:
        config.suppress_tokens = None


def first_tokens(service: Service, bodies: Bodies) -> Row:
    """The first token of a second question about each clip, against that of the first."""
    new, known = [], []  # seconds
    for first, second in zip(bodies[::2], bodies[1::2], strict=True):
        new.append(asyncio.run(answer(service, first))[1])
        known.append(asyncio.run(answer(service, second))[1])
    pair = Pair(statistics.median(known), statistics.median(new), len(new))
    figure = "first token of a second question about a clip, against the first"
    return Row.gain(figure, pair, "s of the wall", 3.0, "32 frames")


def measure() -> list[Row]:
    """First token and throughput."""
    with bench(CLIPS, CLIENTS) as made:
        folder = Path(made.groups[0][0].video).parent
        model = made.patched()
        model.set_patches({})
        service = Service(model, base="smol", folder=folder)
        service.warm()
        asked = [(one.video, one.turns[0].question) for one in made.groups[0]]
        same = [request(*one) for one in asked]
        long = [request(*one, LONG) for one in asked]
        different = []
        for group in made.groups:
            some = group[: CLIENTS // CLIPS]
            different += [request(one.video, one.turns[0].question) for one in some]
        rows = [first_tokens(service, different)]
        # From here on all clips are in memory.
        for threads in range(1, min(2, os.cpu_count() or 1) + 1):
            service.engine.run(partial(torch.set_num_threads, threads)).result()
            rows += compared(service, "same clip", same, 2.5)
            rows += compared(service, "different clips", different, None)
        service.engine.run(partial(torch.set_num_threads, 1)).result()
        with endless(service):
            rows += compared(service, f"same clip, {LONG} tokens", long, 2.5, repeats=1)
        service.close()
    return rows
