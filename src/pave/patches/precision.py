"""`Float32Modules`: a module container whose parameters stay float32 when the model around them is cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn


class Float32Modules(nn.ModuleDict):
    """Fusions by patch name; `.to(torch.bfloat16)` and `.half()` move them but leave their precision alone.

    A fusion is small and its residual is added to every visual token, so its weights stay float32
    (the authors' released patches run so too); the residual is cast last, where it is added.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            same = moved.dtype == tensor.dtype or not tensor.is_floating_point()
            return moved if same else tensor.to(moved.device)

        applied: Any = super()._apply(keep, recurse)  # type: ignore[no-untyped-call]
        return applied  # type: ignore[no-any-return]
