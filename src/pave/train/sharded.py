"""Training on a base that does not fit: each process holds a share of every layer (FSDP2).

Only the layers of the language model are cut, with torch's `fully_shard`: they are nearly all of a
large base. A layer is gathered from all processes when it computes, in the forward and in the
backward pass, and dropped again. Embeddings, head and vision tower stay whole, because they are
used outside of the layers' own calls. The patch is added afterwards, so nothing of it is cut: every
process has all of it, and the Trainer averages its gradients.

transformers can load a model in shares itself (`DistributedConfig`), but its Trainer then refuses
checkpoints, and accelerate's FSDP does nothing on a CPU, where it could not be tested.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import TrainingArguments

from pave.bases import Base
from pave.bases.digest import note_language
from pave.errors import ConfigError
from pave.train.config import TrainConfig


def check_sharded(config: TrainConfig, args: TrainingArguments, given: Base | None) -> None:
    """Refuse what does not go together with a base in shares.

    Raises:
        ConfigError: If something does not.
    """
    if args.world_size == 1:
        raise ConfigError(
            "engine fsdp divides the base among several processes, and there is one; start them "
            "with torchrun --nproc_per_node N, or leave engine out"
        )
    if given is not None:
        raise ConfigError("engine fsdp loads the base itself; name it in the settings")
    if config.validation is not None:
        raise ConfigError(
            "engine fsdp gathers each layer from all processes at once, and each of them would "
            "validate with questions of its own; leave validation out and use pave eval afterwards"
        )
    if config.quantize is not None:
        raise ConfigError(
            "engine fsdp cuts plain weights, and a quantised base has others; use ddp, with which "
            "every process holds the quantised base, or leave quantize out"
        )
    if config.lora is not None and config.lora.use_dora:
        raise ConfigError(
            "lora.use_dora needs the lengths of the base's rows, and engine fsdp holds no row "
            "whole; use ddp"
        )


def load_in_turns(load: Callable[[], Base], args: TrainingArguments) -> Base:
    """Load a base on the CPU and keep a share, one process of a machine after the other.

    All at once, a machine would need as much memory as it has processes times the whole base.

    Args:
        load: Loads the base to the CPU.
        args: The Trainer's settings, which know device and process.

    Returns:
        The base on the process's device, its layers in shares.
    """
    # Made by all at once: processes meet in it.
    mesh = init_device_mesh(args.device.type, (args.world_size,))
    base: Base | None = None
    for turn in range(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))):
        if turn == args.local_process_index:
            base = load()
            note_language(base)  # while it is whole
            shard(base, mesh)
        distributed.barrier()
    assert base is not None
    return base


def shard(base: Base, mesh: DeviceMesh) -> None:
    """Cut the layers of a base's language model into shares, and put the rest on the device."""
    language = getattr(base.inner, base.family.language_model)
    for layer in language.layers:
        fully_shard(layer, mesh=mesh)
    # The root fetches the next layer while one computes; it has no share of its own.
    rest = {parameter for parameter in language.parameters() if not is_cut(parameter)}
    fully_shard(language, mesh=mesh, ignored_params=rest)
    base.cut = True
    device = torch.device(mesh.device_type)  # cuda: the current one, which torchrun's rank chose
    for tensor in [*base.model.parameters(), *base.model.buffers()]:
        if not is_cut(tensor):
            tensor.data = tensor.data.to(device)


def is_cut(tensor: torch.Tensor) -> bool:
    """Whether a process holds only a share of a tensor."""
    return isinstance(tensor.data, DTensor) or isinstance(tensor, DTensor)
