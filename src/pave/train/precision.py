"""Which floating-point type a device trains fast in, and which type its base is then held in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from pave import hf_compat
from pave.errors import ConfigError
from pave.placement import find_device

if TYPE_CHECKING:
    import torch

    from pave.bases import Base

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]
Settled = Literal["fp32", "bf16"]


def native_precision(device: torch.device | None = None) -> Settled:
    """`"bf16"` where the device that will train multiplies it in hardware, else `"fp32"`.

    Args:
        device: That device; the best one there is when not given.

    Example:
        >>> native_precision() in ("bf16", "fp32")
        True
    """
    import torch

    if device is None:
        device = find_device("auto")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        # Without the units oneDNN emulates, several times slower; older torch does not tell.
        return "bf16" if hf_compat.has_bf16_units() else "fp32"
    return "fp32"  # nobody has tried another kind


def settled_precision(wanted: Precision, device: torch.device | None = None) -> Settled:
    """The precision to train in; a warning where the wanted one is emulated.

    Args:
        wanted: As set; `"auto"` takes the device's own.
        device: What will train; the best device there is when not given.

    Example:
        >>> settled_precision("fp32")
        'fp32'
    """
    native = native_precision(device)
    if wanted == "auto":
        return native
    if wanted == "bf16" and native == "fp32":
        log.warning(
            "this processor has no bf16 units: bf16 is emulated, about seven times slower than "
            "fp32; precision=auto chooses the faster one"
        )
    return wanted


def base_dtype(base: str, precision: Settled) -> Settled:
    """The type that a base is loaded in to train so.

    What its files hold does not count: a gradient that went through fp16 would need a scaled loss.
    `smol` stays in fp32, where its norms and visual tokens are; its frozen linear weights are held
    in bf16 while a patch trains (`pave.cpu.frozen`).

    Example:
        >>> base_dtype("llava-hf/llava-onevision-qwen2-7b-ov-hf", "bf16")
        'bf16'
    """
    if base == "smol":
        return "fp32"
    return precision


def check_trains(dtype: torch.dtype, precision: Settled) -> None:
    """Make sure that a base that was loaded elsewhere trains as the settings say.

    Args:
        dtype: The base's type.
        precision: The run's.

    Raises:
        ConfigError: If it is in fp16.
    """
    import torch

    if dtype == torch.float16:
        raise ConfigError(
            "the base is in fp16, in which small gradients vanish; load it with "
            f'load_base(..., dtype="{precision}")'
        )
    if dtype == torch.bfloat16 and precision == "fp32":
        log.warning(
            "the base is in bf16 and stays so; of precision=fp32 only what trains is left: load "
            'the base with load_base(..., dtype="fp32")'
        )


def check_products(base: Base, precision: Settled) -> None:
    """Make sure that a quantised base can be multiplied in the run's precision.

    Raises:
        ConfigError: If its layers refuse it.
    """
    from pave.bases.quantised import method_of, why_no_products

    if precision == "fp32" or method_of(base.config) is None:
        return
    if reason := why_no_products(base.model, base.dtype):
        raise ConfigError(
            f"the base's quantised layers do not take bf16 ({reason}); train with precision=fp32"
        )
