"""Processors: what torch says of them, and products through oneDNN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def mkl_leaves_avx512_alone() -> bool:
    """Whether this processor has AVX-512 and MKL does not use it: one that is not Intel's.

    Where torch cannot tell, MKL's own choice stands. Checked with torch 2.13.0.
    """
    found = _capabilities()
    maker = str(found.get("cpu_name", "Intel"))
    return bool(found.get("avx512_f")) and "Intel" not in maker


def has_bf16_units() -> bool:
    """Whether this processor has units for bfloat16 products: AVX512-BF16 or AMX.

    Checked with torch 2.13.0.
    """
    found = _capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _capabilities() -> dict[str, Any]:
    """What torch knows of this processor: `torch.cpu.get_capabilities`.

    It is newer than the oldest torch that pave takes, which then knows nothing.
    """
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:
        return {}
    return dict(ask())


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear map of `[N, in]` by oneDNN: `torch.ops.mkldnn._linear_pointwise`.

    It is what `torch.compile` emits, oneDNN's product without copies;
    where it is missing, the public way through oneDNN's layout gives the same to the bit. Checked
    with torch 2.13.0.
    """
    import torch

    direct = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if direct is None:
        return torch.nn.functional.linear(x.to_mkldnn(), weight, bias).to_dense()
    out: Tensor = direct(x, weight, bias, "none", [], "")
    return out
