"""Which floating-point type a machine trains fast in."""

from __future__ import annotations

from typing import Any, Literal

Precision = Literal["fp32", "bf16"]

# Processor features with which oneDNN multiplies bf16 matrices natively; without one of them it
# emulates, several times slower.
_UNITS = ("avx512_bf16", "amx_bf16")


def native_precision() -> Precision:
    """`"bf16"` where the processor that will train multiplies it in hardware, else `"fp32"`.

    Example:
        >>> native_precision() in ("bf16", "fp32")
        True
    """
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Older torch does not tell; fp32 is right there, only slower.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if any(capabilities.get(unit) for unit in _UNITS) else "fp32"
