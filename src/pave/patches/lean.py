"""`LeanLinear`: peft's LoRA layer with the same parameters and shorter ways through it when nothing is trained.

peft's forward serves every kind of adapter and costs some 50 microseconds of Python and small
tensors beside two thin products of 10 each. On a small base that is a few per cent of reading a
clip. Without gradients, and where nothing but plain LoRAs is at work, the update is two products,
the second one scaled and added to the layer's own result in place. Where the layer holds a merged
copy of its weight that is just what is at work, it is one product, by the library that is fast at
it.

The base's weight is never written to, so the base comes back to the bit and there is nothing to
undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn

from pave.fusion.linear import fast_linear

State = tuple[object, ...]


@dataclass(frozen=True)
class Merged:
    """A layer's weight with the LoRAs of `state` in it.

    Attributes:
        weight: The sum.
        state: See `LeanLinear._state`.
        sources: What it is the sum of, kept so that their ids and addresses in `state` stay theirs
            (not the base's address, for its memory's sake).
    """

    weight: Tensor
    state: State
    sources: list[Tensor]


class LeanLinear(Linear):  # type: ignore[misc]  # peft carries no types
    """What `lean` makes of a LoRA layer; with gradients, or other types than its LoRA's, it is peft's layer."""

    merged_copy: Merged | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`[..., in]` -> `[..., out]`."""
        if args or kwargs or torch.is_grad_enabled():
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        names = [name for name in self.active_adapters if name in self.lora_A]
        if self.merged_copy is not None and self.merged_copy.state == self._state(names):
            return fast_linear(x, self.merged_copy.weight, self.base_layer.bias)
        if not self._lean(names, x):
            return super().forward(x)  # type: ignore[no-any-return]
        result: Tensor = self.base_layer(x)
        rows = result.view(-1, result.shape[-1])
        for name in names:
            inner = self.lora_A[name](x)  # as a module: hooks may restrict it to some rows
            rows.addmm_(
                inner.view(-1, inner.shape[-1]),
                self.lora_B[name].weight.t(),
                alpha=self.scaling[name],
            )
        return result

    @torch.no_grad()
    def merge_copy(self) -> None:
        """Make the copy for the LoRAs at work; none is made, and an older one is dropped, where they are no plain LoRAs."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        state, weight = self._state(names), self.base_layer.weight
        self.merged_copy = None
        if names and state is not None:
            update = sum(self.get_delta_weight(name).float() for name in names)
            merged = (weight.float() + update).to(weight.dtype)
            self.merged_copy = Merged(
                merged,
                state,
                [*self._sources(names), *(w.detach() for w in self._sources(names)[1:])],
            )

    def _apply(self, *args: Any, **kwargs: Any) -> LeanLinear:
        """Moving or casting a layer gives its weights new memory, maybe the old one's address: its copy goes."""
        self.merged_copy = None
        return super()._apply(*args, **kwargs)  # type: ignore[no-any-return]

    def _state(self, names: list[str]) -> State | None:
        """All that a merged copy depends on; None where the update is more than one fixed matrix (rows masked, dropout, ...).

        The counters of in-place changes tell a copy that is older than an optimiser's step or a
        loaded checkpoint, the addresses one whose weights were exchanged through `.data`. Weights
        made in inference mode count nothing: no copies.
        """
        if (
            self.merged_adapters
            or self._disable_adapters
            or not all(self._plain(name) for name in names)
        ):
            return None
        first = self._modules["lora_A"]._modules
        if any(first[name]._forward_hooks for name in names):
            return None
        sources = self._sources(names)
        if any(weight.is_inference() for weight in sources):
            return None
        weights = [
            (id(weight), weight._version, weight.data_ptr(), weight.dtype, weight.device)
            for weight in sources
        ]
        return (names, [self.scaling[name] for name in names], weights)

    def _sources(self, names: list[str]) -> list[Tensor]:
        """The weights at work, from the modules' own dictionaries: every call asks, and attributes of modules take longer."""
        modules = self._modules
        parts = [modules[part]._modules[name] for name in names for part in ("lora_A", "lora_B")]
        return [module._parameters["weight"] for module in (modules["base_layer"], *parts)]

    def _lean(self, names: list[str], x: Tensor) -> bool:
        """Whether nothing is cast, merged or switched off, and all LoRAs at work are plain and of the input's type."""
        other = (
            torch.is_autocast_enabled(x.device.type)
            or self.merged_adapters
            or self.disable_adapters
        )
        return not other and all(
            self._plain(name) and self.lora_B[name].weight.dtype == x.dtype for name in names
        )

    def _plain(self, name: str) -> bool:
        """Whether the LoRA has neither variant nor bias, and drops nothing now."""
        dropout, last = (self._modules[part]._modules[name] for part in ("lora_dropout", "lora_B"))
        drops = dropout.training and not isinstance(dropout, nn.Identity)
        return last._parameters["bias"] is None and not drops and name not in self.lora_variant


def lean(layer: Any) -> None:
    """Give a peft LoRA layer on a plain linear map the shorter ways; other layers stay as they are."""
    if type(layer) is Linear and type(layer.get_base_layer()) is nn.Linear:
        layer.__class__ = LeanLinear
