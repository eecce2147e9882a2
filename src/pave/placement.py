"""Where models run, and in which floating-point type: one rule and one set of words for all verbs.

    device   auto     the first CUDA GPU, else Apple's (mps), else the CPU
             cpu, cuda, cuda:1, mps
    dtype    auto     that of the files
             fp32, bf16, fp16, PyTorch's own words ("bfloat16") and its types

Encoders are made deep inside a verb, and by other packages too. So a verb does not hand its device
down to them: it says once where it runs (`running_on`), and they ask (`chosen_device`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from pave.errors import ConfigError

if TYPE_CHECKING:  # settings with these words are read before torch is needed
    import torch

DtypeWord = Literal["auto", "fp32", "bf16", "fp16"]
"""How settings and flags name a base's type."""

DEVICE_HELP = (
    "Where models run: auto, cpu, cuda, cuda:1 or mps. auto: CUDA, else MPS, else the CPU."
)
DTYPE_HELP = "Floating-point type of the base's weights; auto is that of its files."

_TORCH_NAMES = {
    "fp32": "float32",
    "float32": "float32",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp16": "float16",
    "float16": "float16",
}

# What the verbs at work have chosen, the innermost last. Not a context variable: threads that
# decode and encode beside the tower must see it too.
_chosen: list[torch.device] = []


def find_dtype(word: str | torch.dtype) -> torch.dtype | None:
    """A floating-point type by its word; None for "auto", which the files decide.

    Raises:
        ConfigError: If there is no such type, or models do not compute in it.

    Example:
        >>> find_dtype("bf16"), find_dtype("torch.float32"), find_dtype("auto")
        (torch.bfloat16, torch.float32, None)
    """
    import torch

    if not isinstance(word, str | torch.dtype):  # an array would compare each of its numbers
        raise ConfigError(f"a base has the dtype auto, fp32, bf16 or fp16, got {word!r}")
    if word == "auto":
        return None
    name = str(word).removeprefix("torch.")
    if name not in _TORCH_NAMES:
        raise ConfigError(f"dtype must be auto, fp32, bf16 or fp16, got {str(word)!r}")
    found: torch.dtype = getattr(torch, _TORCH_NAMES[name])
    return found


def find_device(word: str | torch.device = "auto") -> torch.device:
    """A device by its word, looked for on this machine.

    Under torchrun "auto" and "cuda" are each process's own GPU.

    Raises:
        ConfigError: If the word names no device, or none that this machine has.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    import torch

    # An array would compare each of its numbers.
    if isinstance(word, str) and word == "auto":
        return _best()
    try:
        device = torch.device(word)
    # Its own message lists thirty kinds. A type that it does not know, or a number, is none either.
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"unknown device {word!r}; use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda":
        return _cuda(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device mps: this machine has no Apple GPU that PyTorch can use")
    if device.type not in ("cpu", "mps"):
        raise ConfigError(f"pave does not run on {word!r}; use auto, cpu, cuda, cuda:1 or mps")
    return torch.device(device.type)  # there is one of each


def chosen_device() -> torch.device:
    """Where the verb at work runs; the best device there is where none has said."""
    if _chosen:
        return _chosen[-1]
    return _best()


@contextmanager
def running_on(word: str | torch.device) -> Iterator[torch.device]:
    """Everything inside runs on one device, in other threads too.

    Raises:
        ConfigError: If there is no such device here.

    Example:
        >>> with running_on("cpu"):
        ...     chosen_device()
        device(type='cpu')
    """
    device = find_device(word)
    _chosen.append(device)
    try:
        yield device
    finally:
        _chosen.remove(device)


def _best() -> torch.device:
    import torch

    if torch.cuda.is_available():
        return _cuda(torch.device("cuda"))
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _cuda(device: torch.device) -> torch.device:
    """A CUDA GPU that is there; without a number a process of torchrun gets its own."""
    import torch

    if not torch.cuda.is_available():
        why = "PyTorch finds no CUDA GPU"
        if torch.version.cuda is None and torch.version.hip is None:
            why = "this PyTorch is built without CUDA (install the build for your GPU)"
        raise ConfigError(f"device {device}: {why}; use cpu or auto")
    count = torch.cuda.device_count()
    if device.index is None:
        rank = os.environ.get("LOCAL_RANK", "")
        if rank.isdecimal() and count:
            # More processes than GPUs share them, as accelerate has it.
            return torch.device("cuda", int(rank) % count)
        return device
    if device.index >= count:
        names = ", ".join(f"cuda:{number}" for number in range(count)) or "none"
        raise ConfigError(f"device {device}: there is no such GPU; available: {names}")
    return device
