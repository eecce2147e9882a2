"""Which floating-point type a machine trains fast in."""

from __future__ import annotations

import logging
from typing import Literal

from pave import hf_compat

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]


def native_precision() -> Literal["fp32", "bf16"]:
    """`"bf16"` where the processor that will train multiplies it in hardware, else `"fp32"`.

    Example:
        >>> native_precision() in ("bf16", "fp32")
        True
    """
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Without the units oneDNN emulates, several times slower; older torch does not tell.
    return "bf16" if hf_compat.has_bf16_units() else "fp32"


def settled_precision(wanted: Precision) -> Literal["fp32", "bf16"]:
    """The precision to train in; a warning where the wanted one is emulated.

    Args:
        wanted: As set; `"auto"` takes the machine's own.

    Example:
        >>> settled_precision("fp32")
        'fp32'
    """
    native = native_precision()
    if wanted == "auto":
        return native
    if wanted == "bf16" and native == "fp32":
        log.warning(
            "this processor has no bf16 units: bf16 is emulated, about seven times slower than "
            "fp32; precision=auto takes what a processor multiplies"
        )
    return wanted
