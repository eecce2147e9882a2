"""Questions to `pave serve`: together against one after the other, and the first token.

The service runs in this process, without HTTP, on `smol` with the demo's patch; clips are decoded
in its worker, as a server does. What a clip gave is kept, as in a server.

- "same clip": 8 questions about one clip that wait together go through the model behind one
  prefix. The peer asks the same server one after the other; it finds the clip and its prefix in
  memory, too. The second peer is a server that keeps nothing, as `pave ask` for each question would
  be, without the time that a process takes to start.
- "different clips": as many questions, each about another clip; nothing is shared.
- "first token": seconds from a request to its first piece, of the second question about a clip
  against the first one.

Seconds are those of the wall, since a worker and the model take turns: a busy machine shows larger
ones.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import Pair, Row
from videos import bench

from pave.serve import Limits, Service
from pave.serve.wire import request_of

QUESTIONS = 8
TOKENS = 16
REPEATS = 3


def request(clip: str, question: str) -> dict[str, Any]:
    """The body of a request about a served file."""
    video = {"type": "video_url", "video_url": {"url": f"file:{Path(clip).name}", "frames": 32}}
    content = [video, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    return {"model": "sound", "messages": messages, "max_tokens": TOKENS}


async def answer(service: Service, body: dict[str, Any]) -> float:
    """Ask; seconds to the first piece."""
    asked = request_of(body)
    running = service.enter()
    first = 0.0
    try:
        await service.begin(asked, running)
        async for _ in running.pieces(1):
            first = first or time.monotonic() - running.arrived
    finally:
        running.close()
    return first


def seconds(service: Service, bodies: Sequence[dict[str, Any]], together: bool) -> float:
    """Of the wall, for all of them."""

    async def ask() -> None:
        if together:
            await asyncio.gather(*(answer(service, body) for body in bodies))
            return
        for body in bodies:
            await answer(service, body)

    start = time.perf_counter()
    asyncio.run(ask())
    return time.perf_counter() - start


def compared(
    service: Service, peer: Service, bodies: Sequence[dict[str, Any]]
) -> tuple[float, float]:
    """Medians of asking together and one after the other, in turn."""
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(seconds(service, bodies, together=True))
        theirs.append(seconds(peer, bodies, together=False))
    return statistics.median(ours), statistics.median(theirs)


def measure() -> list[Row]:
    """Throughput and first token."""
    rows = []
    unit = f"s for {QUESTIONS} questions"
    with bench(QUESTIONS, QUESTIONS) as made:
        folder = Path(made.groups[0][0].video).parent
        model = made.patched()
        model.set_patches({})
        service = Service(model, base="smol", folder=folder)
        empty = Service(model, base="smol", folder=folder, limits=Limits(cache_mb=0))
        for one in (service, empty):
            one.warm()
        same = [request(one.video, one.turns[0].question) for one in made.groups[0]]
        others = [group[0] for group in made.groups]  # one record of each clip
        different = [request(one.video, one.turns[0].question) for one in others]
        new, known = [], []  # seconds to the first token
        for body in different[1:6]:
            new.append(asyncio.run(answer(service, body)))
            known.append(asyncio.run(answer(service, body)))
        pair = Pair(statistics.median(known), statistics.median(new), len(new))
        figure = "first token of a second question about a clip, against the first"
        rows.append(Row.gain(figure, pair, "s", 3.0, "32 frames"))
        seconds(service, [*same, *different], together=True)  # from here on all is in memory
        for title, peer, bodies, promise in (
            ("same clip, together, against one after the other", service, same, None),
            ("same clip, together, against a server that keeps nothing", empty, same, 2.5),
            ("different clips, together, against one after the other", service, different, None),
        ):
            pair = Pair(*compared(service, peer, bodies), REPEATS)
            rows.append(Row.gain(f"serve, {title}", pair, unit, promise, "32 frames, greedy"))
        service.close()
        empty.close()
    return rows
