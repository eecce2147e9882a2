"""Who started this process, and beside how many others: torchrun, or something that tells nothing.

Every process of a launch runs the whole command. One that took itself for the only one would train
alone, and write the files that the others write.
"""

from __future__ import annotations

import os

from pave.errors import ConfigError

# What starts several processes without telling them of each other in torchrun's words: variable in
# which it says how many, and its name. Inside `sbatch` alone there is no step, so no such number.
_OTHERS = {
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
    "MV2_COMM_WORLD_SIZE": "mpirun",
}
# Set by `accelerate launch`: always, for a CPU ("True"), for several processes or machines.
_ACCELERATE, _ON_CPU = "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU"
_SEVERAL = "MASTER_PORT"


def processes() -> int:
    """Processes of the launch, as torchrun tells them; 1 where nothing launched this one."""
    # Both or nothing: a lone WORLD_SIZE in a shell's environment is not a launch.
    if not os.environ.get("RANK", "").isdecimal():
        return 1
    return _number("WORLD_SIZE")


def must_be_known() -> None:
    """Refuse to be one of several processes that do not know of each other.

    Raises:
        ConfigError: If srun or mpirun started several without torchrun.
    """
    if "RANK" in os.environ:  # torchrun's, perhaps inside a task of srun
        return
    for variable, name in _OTHERS.items():
        count = _number(variable)
        if count > 1:
            raise ConfigError(
                f"{name} started {count} processes of this command, which do not know of each "
                f"other and would all do the same; let {name} start one torchrun on each machine"
            )


def must_train_together(known: int, device: str) -> None:
    """Refuse to train alone where several processes were wanted.

    Args:
        known: How many processes the Trainer sees.
        device: The kind of device that it trains on.

    Raises:
        ConfigError: If it would.

    Example:
        >>> must_train_together(1, "cpu")
    """
    if known > 1:
        return
    must_be_known()
    if processes() > 1:
        raise ConfigError(
            f"{processes()} processes were started, and on the device {device} each would train "
            "by itself; start one"
        )
    if _is_one_of_accelerate(device):
        raise ConfigError(
            "accelerate launch starts a single process on a CPU, whatever --num_processes says; "
            "use torchrun --nproc_per_node N -m pave train, or ask it for one process"
        )


def _is_one_of_accelerate(device: str) -> bool:
    """Whether `accelerate launch` was asked for several processes and started a single one."""
    if "RANK" in os.environ or _ACCELERATE not in os.environ:
        return False
    on_cpu = device == "cpu" or os.environ.get(_ON_CPU) == "True"
    return on_cpu and _SEVERAL in os.environ


def _number(variable: str) -> int:
    """A number of processes; 1 where the variable holds none."""
    text = os.environ.get(variable, "")
    if not text.isdecimal():
        return 1
    return int(text)
