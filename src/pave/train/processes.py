"""What the processes of a run tell each other outside of the optimiser steps."""

from __future__ import annotations

from typing import Any

import torch


def gathered(mine: Any) -> list[Any]:
    """What every process has, in their order."""
    _, parts = share()
    if parts == 1:
        return [mine]
    found: list[Any] = [None] * parts
    torch.distributed.all_gather_object(found, mine)
    return found


def share() -> tuple[int, int]:
    """(number of this process, number of processes)."""
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
