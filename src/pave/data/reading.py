"""`reading`: how media are read where there are many clips, so that one of them costs only itself.

Worker processes decode videos and run channel encoders. The base's tower stays in this process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pave.bases.base import Base
from pave.bases.tower import tower_of
from pave.channels import Encoder
from pave.channels.apart import EncoderApart, recipe_of
from pave.media import Frames, Sampling, read_frames
from pave.media.limits import CLIP_SECONDS, limit
from pave.placement import chosen_device
from pave.workers import Workers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reader:
    """What reads the media of clips.

    Attributes:
        frames: As `pave.media.read_frames`.
        encoders: Name -> the encoder, as `Features` was given it or in a worker.
    """

    frames: Callable[[str, Sampling], Frames]
    encoders: Mapping[str, Encoder]


@contextmanager
def reading(base: Base, encoders: Mapping[str, Encoder], workers: int) -> Iterator[Reader]:
    """A reader, and the processes it needs.

    Args:
        base: Whose tower answers the encoders that read with it.
        encoders: Name -> encoder.
        workers: Processes; with 0 everything is read in this one.

    Raises:
        ConfigError: If no process can be started.
    """
    if workers == 0:  # torch's own word for it, in a DataLoader
        yield Reader(read_frames, encoders)
        return
    with open_workers(workers, chosen_device()) as processes:
        # Asked once, before the first clip: what cannot be made there is made here.
        apart = {}
        for name, encoder in encoders.items():
            apart[name] = _apart(base, encoder, processes)

        def frames(video: str, sampling: Sampling) -> Frames:
            pixels, times, duration = processes.call(video, _read, video, sampling)
            return Frames(torch.from_numpy(pixels), torch.from_numpy(times), duration)

        yield Reader(frames, apart)


def open_workers(count: int, device: torch.device) -> Workers:
    """Processes that share this one's processors, with the limit that is set for a clip."""
    threads = torch.get_num_threads()
    if count > 1:  # otherwise each would start a thread for every processor
        threads = max(1, (os.cpu_count() or 1) // count)
    return Workers(threads=threads, device=str(device), seconds=limit(CLIP_SECONDS))


def _apart(base: Base, encoder: Encoder, processes: Workers) -> Encoder:
    """The encoder in a worker, where one can make it."""
    tower = tower_of(base)  # which loads nothing unless it is used
    recipe = recipe_of(encoder, tower, processes)
    if recipe is not None:
        return EncoderApart(encoder, recipe, processes, tower)
    logger.warning(
        "encoder %s/%s is registered in this process only, so it reads media here, where a "
        "broken file may crash the run; register it in an installed package to let it run in a "
        "process of its own",
        encoder.channel,
        encoder.name,
    )
    return encoder


def _read(video: str, sampling: Sampling) -> tuple[Any, Any, float | None]:
    """In a worker: frames as arrays, which travel at the speed of memory."""
    frames = read_frames(video, sampling)
    return frames.pixels.numpy(), frames.times.numpy(), frames.duration
