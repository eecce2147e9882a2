"""The first half of the demo: the base set up, the clips made, and what the frozen parts see and hear of them stored."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from pave.demo.config import DemoConfig

Progress = Callable[[str, int, int], None]
CHANNEL = "audio"
TRAIN, TEST = "train", "test"
_POLL = 0.5


def make_clips(config: DemoConfig, progress: Progress) -> dict[str, Path]:
    """Make both splits, while another process sets up the base (the first time it has to be put together).

    Returns:
        Split -> records file.

    Raises:
        BaseError: If parts of the base are missing; that is found out before any work.
        ConfigError: If parts of the world are missing.
    """
    from pave.world import make_world

    _check_base(config.base)
    counts = {TRAIN: config.train_clips, TEST: config.test_clips}
    with _pool(1) as pool:
        base = pool.submit(_set_up, config.base)
        records = {
            split: make_world(
                config.world(split),
                split,
                clips,
                config.seed,
                workers=config.workers,
                questions_per_clip=config.questions_per_clip,
                progress=partial(progress, f"{split} clips"),
            )
            for split, clips in counts.items()
        }
        base.result()
    return records


def encode_clips(config: DemoConfig, records: Mapping[str, Path], progress: Progress) -> None:
    """Run the frozen tower and the sound encoder over every clip once, in processes of one thread each."""
    total = 2 * (config.train_clips + config.test_clips)
    files, settings = list(records.values()), config.encoder_settings
    with _pool(config.workers) as pool:
        jobs = [
            pool.submit(_encode, config.base, files, config.store, config.encoder, settings, part, config.workers)
            for part in range(config.workers)
        ]
        waiting = set(jobs)
        while waiting:
            _, waiting = wait(waiting, timeout=_POLL)
            progress("clips encoded", min(total, sum(1 for _ in config.store.glob("??/*.safetensors"))) // 2, total // 2)
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


def _encode(
    base: str, files: Sequence[Path], store: Path, encoder: str, settings: dict[str, Any], part: int, parts: int
) -> None:
    """One process's share of the clips."""
    import torch

    from pave.bases import load_base, tower_of
    from pave.channels import make_encoder
    from pave.data import Features, group_by_clip, read_records
    from pave.store import TokenStore

    torch.set_num_threads(1)
    clips = [group[0] for file in files for group in group_by_clip(read_records(file))]
    loaded = load_base(base)
    features = Features(loaded, {CHANNEL: make_encoder(CHANNEL, encoder, settings, tower=tower_of(loaded))}, TokenStore(store))
    features.precompute(clips[part::parts])
