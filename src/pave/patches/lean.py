"""`LeanLinear`: peft's LoRA layer with the same parameters and a shorter way through it when nothing is trained.

peft's forward serves every kind of adapter and costs some 50 microseconds of Python and small tensors beside two thin products
of 10 each. On a small base that is a few per cent of reading a clip. Without gradients, and where nothing but plain LoRAs is at
work, the update is two products, the second one scaled and added to the layer's own result in place.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


class LeanLinear(Linear):  # type: ignore[misc]  # peft carries no types
    """What `lean` makes of a LoRA layer; with gradients, or other types than its LoRA's, it is peft's layer."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`[..., in]` -> `[..., out]`."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if args or kwargs or not self._lean(names, x):
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        result: Tensor = self.base_layer(x)
        rows = result.view(-1, result.shape[-1])
        for name in names:
            inner = self.lora_A[name](x)  # as a module: hooks may restrict it to some rows
            rows.addmm_(inner.view(-1, inner.shape[-1]), self.lora_B[name].weight.t(), alpha=self.scaling[name])
        return result

    def _lean(self, names: list[str], x: Tensor) -> bool:
        """Whether nothing is recorded, cast, merged or switched off, and all LoRAs at work are plain."""
        other = torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type)
        other = other or self.merged_adapters or self.disable_adapters
        return not other and all(self._plain(name, x) for name in names)

    def _plain(self, name: str, x: Tensor) -> bool:
        """Whether the LoRA is of the input's type, has neither variant nor bias, and drops nothing now."""
        dropout, last = self.lora_dropout[name], self.lora_B[name]
        drops = dropout.training and not isinstance(dropout, nn.Identity)
        return last.weight.dtype == x.dtype and last.bias is None and not drops and name not in self.lora_variant


def lean(layer: Any) -> None:
    """Give a peft LoRA layer on a plain linear map the short way; other layers stay as they are."""
    if type(layer) is Linear and type(layer.get_base_layer()) is nn.Linear:
        layer.__class__ = LeanLinear
