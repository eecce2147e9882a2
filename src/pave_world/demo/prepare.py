"""The first half of the demo: base, clips, and what the frozen parts make of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path

from pave_world.demo.config import DemoConfig

Progress = Callable[[str, int, int], None]
TRAIN, TEST = "train", "test"
_POLL = 0.5


def make_clips(config: DemoConfig, progress: Progress) -> dict[str, Path]:
    """Make both splits, while another process sets up the base (put together the first time).

    Returns:
        Split -> records file.

    Raises:
        BaseError: If the base cannot be loaded; missing parts of `smol` are found out before any
            work.
        ConfigError: If parts of the world are missing.
    """
    _check_base(config.base)
    with _pool(1) as pool:
        base = pool.submit(_set_up, config.base)

        def tell(what: str, done: int, total: int) -> None:
            if base.done():
                base.result()  # a base that cannot be had ends the work now, not after all clips
            progress(what, done, total)

        records = {}
        for split in (TRAIN, TEST):
            records[split] = make_split(config, split, config.clips(split), tell)
        base.result()
    return records


def make_split(
    config: DemoConfig,
    split: str,
    clips: int,
    progress: Progress,
    made: Callable[[Path], None] | None = None,
) -> Path:
    """Make the clips of one split, in processes.

    Args:
        config: The demo's settings.
        split: "train" or "test".
        clips: Number of clips.
        progress: Called with (what, done, total).
        made: Called with every film as it is done.

    Returns:
        The records file.
    """
    from pave_world import make_world

    return make_world(
        config.world(split),
        split,
        clips,
        config.seed,
        config.channel,
        workers=config.workers,
        questions_per_clip=config.questions_per_clip,
        progress=partial(progress, f"{split} clips"),
        made=made,
    )


def encode_clips(config: DemoConfig, records: Mapping[str, Path], progress: Progress) -> None:
    """Run the frozen tower and the channel's encoder over every clip once, in processes."""
    clips = sum(map(config.clips, records))
    total = 2 * clips  # a clip has visual tokens and side tokens
    with _pool(config.workers) as pool:
        jobs = [
            pool.submit(_encode, config, file, part)
            for file in records.values()
            for part in range(config.workers)
        ]
        # Entries in the cache tell the progress: processes cannot call back.
        waiting = set(jobs)
        while waiting:
            _, waiting = wait(waiting, timeout=_POLL)
            progress(
                "clips encoded",
                min(total, sum(1 for _ in config.cache.glob("??/*.safetensors"))) // 2,
                total // 2,
            )
        for job in jobs:
            job.result()


def _pool(workers: int) -> ProcessPoolExecutor:
    """Processes that are spawned: forking a process whose libraries run threads can hang."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _check_base(name: str) -> None:
    if name == "smol":
        from pave.bases.smol.assemble import require_parts

        require_parts()


def _set_up(name: str) -> None:
    from pave.bases import load_base

    load_base(name)


def _encode(config: DemoConfig, file: Path, part: int) -> None:
    """One process's share of a split's clips."""
    import torch

    from pave.bases import load_base, tower_of
    from pave.cache import TokenCache
    from pave.channels import make_encoder
    from pave.data import Features, group_by_clip, read_records

    torch.set_num_threads(1)  # as many processes as cores: a second thread would only wait
    channel = config.channel
    base = load_base(config.base, device="auto")
    encoder = make_encoder(
        channel,
        config.encoder or config.preset.encoder,
        config.encoder_settings,
        tower=tower_of(base),
    )
    clips = [group[0] for group in group_by_clip(read_records(file))]
    Features(base, {channel: encoder}, TokenCache(config.cache)).precompute(
        clips[part :: config.workers], workers=0
    )
