"""`Lora`, a handle to one LoRA in the base's layers, and `Loras`, to those of a patch's channels.

The weights lie inside peft's layers, so that a patch's `lora/` folder is a standard adapter:
`PeftModel.from_pretrained` on the plain base loads it. `pave.patches.lora_set` puts them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pave.patches.config import LoraSpec

# The update is scale * B A x: A is [rank, in], random at first; B is [out, rank], zero at first.
_PARTS = ("lora_A", "lora_B")


def copy_values(source: Mapping[str, Tensor], target: Mapping[str, nn.Parameter]) -> None:
    """Put the values of tensors into parameters of the same names."""
    with torch.no_grad():
        for key, parameter in target.items():
            parameter.copy_(source[key])  # in place: peft's layers hold the parameter itself


@torch.no_grad()
def merged_weight(layer: LoraLayer, name: str) -> Tensor:
    """A layer's weights `[out, in]` with a LoRA's update in them, in fp32.

    Args:
        layer: peft's layer around a plain linear one.
        name: The LoRA.
    """
    weight: Tensor = layer.get_base_layer().weight.float()
    update = weight + layer.get_delta_weight(name).float()  # alpha / rank is in it
    if name not in layer.lora_magnitude_vector:
        return torch.as_tensor(update)
    # DoRA: every row has a length of its own.
    lengths = torch.linalg.vector_norm(update, dim=1)  # [out]
    wanted: Tensor = layer.lora_magnitude_vector[name].weight.float()
    scaled: Tensor = update * (wanted / lengths).unsqueeze(1)
    return scaled


class Lora:
    """A handle to one LoRA: its adapters in the base's layers.

    Args:
        name: What peft calls it; the patch's name.
        spec: Its shape.
        layers: Name in the plain model -> peft's layer there.

    """

    def __init__(self, name: str, spec: LoraSpec, layers: Mapping[str, LoraLayer]) -> None:
        self.name = name
        # Under the same face as `Loras`: it is on where any channel of its patch is there.
        self.names = {name: ""}
        self.spec = spec
        self.layers = dict(layers)
        self._scaled: list[RemovableHandle] = []  # of a DoRA that is turned up or down

    def parameters(self) -> dict[str, nn.Parameter]:
        """Adapter-file key -> parameter.

        A key is, for example,
        `base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight`.
        """
        found = {}
        for path, layer in self.layers.items():
            for part in _PARTS:
                adapters = getattr(layer, part)  # name of a LoRA -> its linear map
                if self.name in adapters:
                    found[f"base_model.model.{path}.{part}.weight"] = adapters[self.name].weight
            if self.name in layer.lora_magnitude_vector:  # DoRA's, [out]
                # Without `.weight`, as peft names it in its files.
                key = f"base_model.model.{path}.lora_magnitude_vector"
                found[key] = layer.lora_magnitude_vector[self.name].weight
        return found

    def set_weight(self, weight: float) -> None:
        """Scale its update; 1 restores the scale of training to the bit."""
        for hook in self._scaled:
            hook.remove()
        self._scaled = []
        for path, layer in self.layers.items():
            if self.spec.use_dora and weight != 1:
                # Its update is not linear in the scale, so what it adds is scaled as a whole.
                scaled = layer.lora_magnitude_vector[self.name]
                self._scaled.append(scaled.register_forward_hook(_Scale(weight)))
            elif not self.spec.use_dora:
                # 1.0 * scale is scale, to the bit.
                layer.scaling[self.name] = self.spec.scale_of(path) * weight

    def set_trainable(self, trainable: bool) -> None:
        """Freeze or unfreeze it, whether it is active or not."""
        for layer in self.layers.values():
            layer.set_requires_grad(self.name, trainable)

    def train(self, mode: bool) -> None:
        """Turn its dropout on or off."""
        for layer in self.layers.values():
            if self.name in layer.lora_dropout:
                layer.lora_dropout[self.name].train(mode)


class Loras:
    """The LoRAs of a patch whose channels have one each, with the face of a single one.

    Args:
        by_channel: Channel -> its LoRA.
    """

    def __init__(self, by_channel: Mapping[str, Lora]) -> None:
        self.by_channel = dict(by_channel)
        # Of each LoRA in the layers the channel without which it is off.
        self.names = {lora.name: channel for channel, lora in by_channel.items()}

    def parameters(self) -> dict[str, nn.Parameter]:
        """`<channel>/<adapter-file key>` -> parameter."""
        found = {}
        for channel, lora in self.by_channel.items():
            for key, parameter in lora.parameters().items():
                found[in_channel(channel, key)] = parameter
        return found

    def set_weight(self, weight: float) -> None:
        """Scale all updates; see `Lora.set_weight`."""
        for lora in self.by_channel.values():
            lora.set_weight(weight)

    def set_trainable(self, trainable: bool) -> None:
        """Freeze or unfreeze all."""
        for lora in self.by_channel.values():
            lora.set_trainable(trainable)

    def train(self, mode: bool) -> None:
        """Turn their dropout on or off."""
        for lora in self.by_channel.values():
            lora.train(mode)


def in_channel(channel: str, key: str) -> str:
    """The key of a tensor of a channel's LoRA; as it is of a LoRA that is everybody's.

    Example:
        >>> in_channel("audio", "base_model.x"), in_channel("", "base_model.x")
        ('audio/base_model.x', 'base_model.x')
    """
    # Keys of peft hold no slash, so this is no key of a LoRA that is everybody's.
    if channel:
        return f"{channel}/{key}"
    return key


def of_channel(tensors: Mapping[str, Tensor], channel: str) -> dict[str, Tensor]:
    """The tensors of one channel's LoRA, by the keys of its own file."""
    start = in_channel(channel, "")
    found = {}
    for key, tensor in tensors.items():
        if key.startswith(start):
            found[key.removeprefix(start)] = tensor
    return found


class _Scale:
    """Forward hook that scales what a DoRA adds."""

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self._weight
