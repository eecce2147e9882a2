"""Attention in plain products where PyTorch's fused kernel is slow: bfloat16 with gradients.

The kernel's backward pass takes two to four times as long on CPUs as the four products and the
softmax that it consists of, whatever the number of keys. Forward alone the kernel wins, and in
float32 the two are near each other: there nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def in_plain_products(attention: nn.Module) -> None:
    """Let a module that calls `scaled_dot_product_attention` train in plain products in bfloat16.

    It has to be the module that calls it: activation checkpointing runs modules anew, and both
    runs must keep the same tensors.
    """
    attention.forward = MethodType(_forward, attention)


def _forward(attention: nn.Module, x: Tensor, *args: Any) -> Any:
    forward = type(attention).forward
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled():
        with _PlainProducts():
            return forward(attention, x, *args)
    return forward(attention, x, *args)


class _PlainProducts(TorchFunctionMode):
    """Within it, attention that asks for no more than a mask is computed by `attend`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if (
            func is F.scaled_dot_product_attention
            and len(args) == 3
            and kwargs.keys() <= {"attn_mask"}
        ):
            return attend(*args, kwargs.get("attn_mask"))
        return func(*args, **kwargs)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """`[F, H, S, d]`, `[F, H, L, d]` twice, bool mask `[F, 1, 1, L]` -> `[F, H, S, d]`."""
    scores = query @ key.mT * query.shape[-1] ** -0.5  # [F, H, S, L]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    seen: Tensor = scores.softmax(-1) @ value
    return seen
