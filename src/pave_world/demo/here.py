"""The stages of the short demo that run in its own process, with the base that is loaded there.

A process of its own would first import and load everything again: ten seconds of three minutes.
"""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pave.train.progress import read_log
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import Progress, make_split
from pave_world.demo.training import LOG

if TYPE_CHECKING:
    from pave.bases import Base
    from pave.data import Record
    from pave.train import TrainConfig

Say = Callable[[str], None]

_POLL = 0.5  # seconds between looks at the log
_TELLS = 4  # lines about a training
_TOGETHER = 6  # clips that are encoded in one go: while the tower sees one, the next is decoded


def make_encoded(
    config: DemoConfig, base: Base, split: str, count: int, progress: Progress
) -> tuple[Path, float]:
    """Make clips in other processes, and encode them here meanwhile.

    Args:
        config: The demo's settings.
        base: The base, whose tower sees them.
        split: "train" or "test".
        count: Number of clips.
        progress: Called with (what, done, total).

    Returns:
        The records file, and the wall seconds from the first clip on: the start of the processes
        says nothing about the next clip.
    """
    from pave.cache import TokenCache
    from pave.channels import make_encoder
    from pave.data import Features, group_by_clip, read_records

    encoder = make_encoder(config.channel, config.preset.encoder, config.encoder_settings)
    features = Features(base, {config.channel: encoder}, TokenCache(config.cache))
    began: list[float] = []
    waiting: list[Path] = []

    def encode(film: Path) -> None:
        began.append(time.monotonic())
        waiting.append(film)
        if len(waiting) == _TOGETHER:
            features.precompute([_seen(film) for film in waiting], workers=0)
            waiting.clear()

    with _one_thread():  # the other processors make clips
        records = make_split(config, split, count, progress, made=encode)
    # What is left, with all processors; and whatever else a record names.
    clips = [group[0] for group in group_by_clip(read_records(records))]
    features.precompute(clips, workers=0)
    return records, time.monotonic() - began[0]


def train_here(run: TrainConfig, base: Base, progress: Progress, say: Say, seconds: float) -> bool:
    """Train a patch on a base that is loaded.

    Args:
        run: The training's settings.
        base: The base; it is given back unpatched.
        progress: Called with (what, steps done, steps) about twice a second.
        say: Gets a line at each quarter.
        seconds: Wall seconds that it may take.

    Returns:
        Whether it came to its end.

    Raises:
        TrainError: If the training fails.
    """
    from pave.train import train

    over = threading.Event()

    def end() -> None:
        over.set()
        _thread.interrupt_main()  # as Ctrl-C: training ends after its step

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        with _quiet(), _told(run, progress, say):
            train(run, base=base, progress=False)
            timer.cancel()
    except KeyboardInterrupt:
        if not over.is_set():  # somebody's own Ctrl-C
            raise
        return False
    finally:
        timer.cancel()
        timer.join()
    return True


@contextmanager
def _told(run: TrainConfig, progress: Progress, say: Say) -> Iterator[None]:
    """Meanwhile a thread tells of the steps that the log has."""
    done = threading.Event()
    thread = threading.Thread(target=_tell, args=(run, progress, say, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tell(run: TrainConfig, progress: Progress, say: Say, done: threading.Event) -> None:
    """Tell how far a training in another process is, until it is done."""
    started = time.monotonic()
    steps = run.steps or 1
    quarters = 0  # told so far
    while not done.wait(_POLL):
        rows = read_log(run.out / LOG)
        if not rows:
            continue
        step = int(rows[-1]["step"])
        progress("training", step, steps)
        if step * _TELLS // steps > quarters:
            quarters = step * _TELLS // steps
            left = (time.monotonic() - started) * (steps - step) / step
            loss = float(rows[-1]["loss"])
            say(f"  step {step} of {steps}, loss {loss:.3f}; about {left:.0f} s left")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to resume: a short demo starts afresh."""
    speaker = logging.getLogger("pave.train.stopping")
    before = speaker.level
    speaker.setLevel(logging.ERROR)
    try:
        yield
    finally:
        speaker.setLevel(before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread meanwhile."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seen(film: Path) -> Record:
    """A film as a record that names its sound; nothing is asked about it."""
    from pave.data import Record, Turn

    return Record(
        id=film.stem,
        video=str(film),
        channels={"audio": str(film)},
        turns=[Turn(question="")],
    )
