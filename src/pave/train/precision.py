"""Which floating-point type a machine trains fast in."""

from __future__ import annotations

from typing import Literal

from pave import hf_compat

Precision = Literal["fp32", "bf16"]


def native_precision() -> Precision:
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
