"""The Trainer of transformers: its hooks, its devices, its files, and how it fails."""

from __future__ import annotations

import re
from typing import Any

TRAINER_HOOKS = (
    "_move_model_to_device",
    "_sync_replicated_trainable_parameters",
    "_get_train_sampler",
    "_get_grad_norm",
    "_get_output_dir",
    "_save_checkpoint",
    "_save",
    "_load_from_checkpoint",
)
"""Methods of `transformers.Trainer` that `pave.train.trainer.PatchTrainer` overrides.

They decide in which order samples come, where a checkpoint is written, what of the model is in it,
and how it comes back. The Trainer has no public way to say these. Checked with transformers 5.23.0.
"""

TRAINER_STATE = "trainer_state.json"
"""File in which the Trainer keeps `global_step`. Checked with transformers 5.23.0."""


def checkpoint_files(processes: int) -> list[str]:
    """What the Trainer writes into a checkpoint beside the weights, for so many processes.

    Checked with transformers 5.23.0.
    """
    if processes == 1:
        chances = ["rng_state.pth"]
    else:
        # The state of the random numbers, one file a process.
        chances = [f"rng_state_{rank}.pth" for rank in range(processes)]
    return ["optimizer.pt", "scheduler.pt", *chances]


def train_on(args: Any, device: Any) -> None:
    """Let the Trainer of a single process train on one device, and on no other beside it.

    By itself it takes the first GPU, whichever is asked for, and where there are several it wraps
    the model in `nn.DataParallel`. The device is what `TrainingArguments._setup_devices` remembers,
    the number of GPUs is `_n_gpu`. Checked with transformers 5.23.0.

    Args:
        args: `TrainingArguments`.
        device: A `torch.device`.
    """
    import torch

    found = args.device  # once, so that the process state is set up
    args._n_gpu = min(1, args.n_gpu)
    if device.type == "cuda":
        # accelerate says "cuda", which is the current one.
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    if device != found:
        args.__dict__["_setup_devices"] = device


def is_write_failure(error: RuntimeError) -> bool:
    """Whether `torch.save` failed to write, on a full disk for example.

    It raises a bare RuntimeError that keeps the system's reason to itself; only the names of its
    writer in the text tell. Checked with torch 2.13.0.
    """
    text = str(error)
    return "inline_container" in text or "PytorchStreamWriter" in text


def is_lost_process(error: RuntimeError) -> bool:
    """Whether an exchange between processes failed because one of them has gone.

    gloo raises a bare RuntimeError; its name or the system's words in the text tell. Checked with
    torch 2.13.0.
    """
    from torch import distributed

    if isinstance(error, distributed.DistError):
        return True
    marks = r"gloo|NCCL|Connection (closed|reset) by peer"
    return re.search(marks, str(error)) is not None
