"""Several processes of one run: what each must have, and how all of them end when one does.

A run of several processes needs one folder that all of them see: the first process writes its log
and checkpoints, and all of them read these. Machines without a common folder would train the same
weights and lose them on all but the first, so it is looked for before anything is read.

What only the first process can find out (whose run the folder holds) is told to the others, so that
all end with the same line. A process that is lost shows in the next exchange with it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import torch
from torch import distributed, nn
from transformers import TrainingArguments

from pave import hf_compat
from pave.errors import ConfigError, PaveError, TrainError
from pave.files import clear_left_overs, make_folder, sha256_of
from pave.train.config import TrainConfig
from pave.train.processes import gathered

SECONDS = 20.0
"""How long a network file system may take to show a new file on another machine."""
_TOKEN = ".together-"
# No start keeps its token so long.
_OLD = 10 * SECONDS
# Settings that each machine may have its own of: where things lie, and what it reads them with.
_OWN = {"out", "cache", "records", "mixture", "align_clips", "base", "base_patches", "workers"}
_OWN |= {"device"}

T = TypeVar("T")


def must_share(config: TrainConfig, args: TrainingArguments) -> None:
    """Make sure that all processes have one run folder, the same settings and the same records.

    Raises:
        ConfigError: If they do not, in every one of them.
    """
    if args.world_size == 1:
        return
    here = socket.gethostname()
    first = told(args, here if args.process_index == 0 else "")
    seen = gathered((here, _sees_folder(config.out, args)))
    # All learn of it, so that all end with the same line.
    blind = sorted({host for host, sees in seen if not sees})
    if blind:
        raise ConfigError(
            f"out {config.out}: the folder that the first process has on {first} is not there for "
            f"processes on {', '.join(blind)}; a run needs a folder that all its machines share"
        )
    ours = _essence(config)
    for theirs in gathered(ours):
        if odd := sorted(name for name in ours if ours[name] != theirs[name]):
            raise ConfigError(
                f"the processes of this run have different {', '.join(odd)}; give all machines "
                "the same settings and records"
            )


def clear_tokens(folder: Path) -> None:
    """Remove what starts of several processes left in a run folder when they were killed."""
    clear_left_overs(folder.glob(f"{_TOKEN}*"), _OLD)


def told(args: TrainingArguments, value: T) -> T:
    """What the first process has, in all of them."""
    if args.world_size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def first_does(args: TrainingArguments, work: Callable[[], object]) -> None:
    """Let the first process do something, and the others wait for it.

    Raises:
        PaveError: What it raises there, in all of them.
    """
    problem: PaveError | None = None
    if args.process_index == 0:
        try:
            work()
        except PaveError as error:
            problem = error
    problem = told(args, problem)
    if problem is not None:
        raise problem


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients.

    DDP would exchange them in the order in which they become ready, and that differs where only
    one process's clips have the channel.

    Args:
        parameters: In the same order in all of them.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:  # a part without use in this process's clips
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    # One exchange: the order in which gradients become ready may differ between processes.
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    # Before the sum, which might run over.
    flat /= distributed.get_world_size()
    distributed.all_reduce(flat)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


@contextmanager
def whole(args: TrainingArguments) -> Iterator[None]:
    """What a lost process does to the others is said in a line.

    Raises:
        TrainError: If another process of the run has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if args.world_size == 1 or not hf_compat.is_lost_process(error):
            raise
        raise TrainError(
            f"another of the {args.world_size} processes of this run has ended; the lines above, "
            "or those of its machine, say why. Start all of them again to resume at the newest "
            "checkpoint"
        ) from error


def _sees_folder(folder: Path, args: TrainingArguments) -> bool:
    """Whether this process sees what the first one has just put into the folder."""
    name = told(args, f"{_TOKEN}{uuid4().hex}")
    token = folder / name
    if args.process_index == 0:
        make_folder(folder)
        token.touch()
    distributed.barrier()
    try:
        return _appears(token)
    finally:
        # All have looked.
        distributed.barrier()
        if args.process_index == 0:
            token.unlink(missing_ok=True)


def _appears(token: Path) -> bool:
    """Whether a file can be seen, now or a little later."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        # Listed, because a network file system remembers for a while that a name was not there.
        if token.parent.is_dir() and token in token.parent.iterdir():
            return True
        time.sleep(0.5)
    return False


def _essence(config: TrainConfig) -> dict[str, Any]:
    """What must be the same in all processes; of records, what is in them."""
    found: dict[str, Any] = config.model_dump(mode="json", exclude=_OWN)
    files = {name: _content(file.records) for name, file in config.files.items()}
    found["records"] = files
    if config.align_clips is not None:
        found["align_clips"] = _content(config.align_clips)
    return found


def _content(records: Path) -> str:
    """What a records file holds; nothing is known of one of the Hub, or of a folder."""
    if not records.is_file():
        return ""
    return sha256_of(records)
