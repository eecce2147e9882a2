"""`LoraSet`: the LoRAs of all patches on one language model, through peft.

Patches use peft's own layers, so that a patch's `lora/` folder is a standard adapter:
`PeftModel.from_pretrained` on the plain base loads it. What peft leaves to its callers is done
here: targets are a regular expression anchored at the language model (the usual `["q_proj",
"v_proj"]` hits SigLIP, CLIP and InternViT towers too), trainability is a flag of each patch instead
of a side effect of activating it, and rows of one batch can be switched off one by one.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import cast_adapter_dtype
from torch import Tensor, nn

from pave.bases.family import Family
from pave.errors import PatchError
from pave.patches.config import LoraSpec
from pave.patches.lean import LeanLinear, lean

_PARTS = ("lora_A", "lora_B")
_ADAPTABLE = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, LoraLayer)


def lora_config(spec: LoraSpec, family: Family, base_name: str = "") -> LoraConfig:
    """The peft config of a patch's LoRA, with targets that can only match inside the language model.

    Args:
        spec: Rank, alpha, dropout, targets.
        family: Names the language model and its default targets.
        base_name: Written into the adapter, for people and tools that read it.
    """
    targets = "|".join(spec.targets or family.lora_targets)
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=rf"model\.{family.language_model}\..*\.({targets})",
        bias="none",
        base_model_name_or_path=base_name or None,
    )


def lora_shapes(model: nn.Module, spec: LoraSpec, family: Family) -> list[tuple[str, int, int]]:
    """(name, inputs, outputs) of every module that a LoRA would adapt; the model's weights are not needed."""
    wanted = re.compile(str(lora_config(spec, family).target_modules))
    found = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    return [
        (name, module.in_features, module.out_features)
        for name, module in found
        if wanted.fullmatch(name)
    ]


def check_targets(model: nn.Module, spec: LoraSpec, family: Family) -> None:
    """Find out whether a LoRA can be put on a model without doing it; other LoRAs may be on it already.

    Raises:
        PatchError: If no module of the language model has one of the targets' names, or one that
            has takes no LoRA.
    """
    wanted = re.compile(str(lora_config(spec, family).target_modules))
    found = {name: module for name, module in model.named_modules() if wanted.fullmatch(name)}
    if not found:
        raise PatchError(_nothing_called(spec, family))
    if odd := [name for name, module in found.items() if not isinstance(module, _ADAPTABLE)]:
        raise PatchError(
            f"{odd[0]} is a {type(found[odd[0]]).__name__}, which takes no LoRA; choose linear "
            "layers as LoRA targets, such as "
            f"{', '.join(family.lora_targets)}"
        )


def _nothing_called(spec: LoraSpec, family: Family) -> str:
    usual = ", ".join(family.lora_targets)
    wanted = ", ".join(spec.targets or family.lora_targets)
    return f"no module of the language model is called {wanted}; choose other LoRA targets, such as {usual}"


class LoraSet:
    """All LoRAs on one base model.

    Args:
        model: The Hugging Face model; its layers are wrapped in place when the first LoRA comes and
            unwrapped when the last one goes.
        family: Its family.
        base_name: Name of the base, written into adapters.
    """

    def __init__(self, model: nn.Module, family: Family, base_name: str = "") -> None:
        self._model, self._family, self._base_name = model, family, base_name
        self._tuner: LoraModel | None = None
        self._scaling: dict[str, float] = {}
        self._active: list[str] = []
        self._layers: dict[str, LoraLayer] = {}
        self._trainable: dict[str, bool] = {}

    def __contains__(self, name: object) -> bool:
        """Whether a LoRA of that name is on the model."""
        return name in self._trainable

    def add(self, name: str, spec: LoraSpec) -> None:
        """Put a fresh LoRA on the model: its update is zero, it is frozen, and off until `set_weights` names it.

        Raises:
            PatchError: If no module of the language model has one of the targets' names.
        """
        config = lora_config(spec, self._family, self._base_name)
        try:
            if self._tuner is None:
                self._tuner = LoraModel(self._model, {name: config}, name)
            else:
                self._tuner.peft_config[name] = config
                self._tuner.inject_adapter(self._model, name)
        except ValueError as error:
            self._forget(name)
            raise PatchError(_nothing_called(spec, self._family)) from error
        self._find_layers()
        # As peft's own entry points do: an optimiser's small steps vanish in a half-precision LoRA.
        cast_adapter_dtype(self._model, adapter_name=name)
        self._trainable[name] = False
        self._scaling[name] = next(
            layer.scaling[name] for layer in self._layers.values() if name in layer.scaling
        )
        self._activate(self._active)

    def remove(self, name: str) -> None:
        """Take one LoRA off; with the last one the plain layers come back."""
        self.unmerge()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # peft warns that it activates another adapter; the caller sets them right after
            self._forget(name)
        self._trainable.pop(name, None)
        self._scaling.pop(name, None)
        self._activate([other for other in self._active if other != name])

    def _forget(self, name: str) -> None:
        if self._tuner is None:
            return
        if name in self._tuner.peft_config:
            self._tuner.delete_adapter(name)
        if not self._tuner.peft_config:
            self._tuner.unload()
            self._tuner = None
        self._find_layers()

    def _find_layers(self) -> None:
        """The wrapped layers by the name they have in the plain model."""
        self._layers = {
            name: module
            for name, module in self._model.named_modules()
            if isinstance(module, LoraLayer)
        }
        for layer in self._layers.values():
            lean(layer)

    def set_weights(self, weights: Mapping[str, float], idle: Collection[str] = ()) -> None:
        """Activate the LoRAs named in `weights` at these factors; the others are off. Names without a LoRA are passed over.

        Weight 1 restores the scale of training to the bit.

        Args:
            weights: LoRA name -> factor.
            idle: LoRAs that get their factor but stay off until `only` names them.
        """
        on = {name: weight for name, weight in weights.items() if weight != 0 and name in self}
        for layer in self._layers.values():
            for name, weight in on.items():
                layer.scaling[name] = (
                    self._scaling[name] if weight == 1 else self._scaling[name] * weight
                )
        self._activate([name for name in on if name not in idle])

    def _activate(self, names: list[str]) -> None:
        self._active = names
        for layer in self._layers.values():
            layer.set_adapter(names, inference_mode=True)
            for name, trainable in self._trainable.items():
                layer.set_requires_grad(name, trainable)

    def set_trainable(self, name: str, trainable: bool) -> None:
        """Freeze or unfreeze one LoRA, whether it is active or not."""
        self._trainable[name] = trainable
        for layer in self._layers.values():
            layer.set_requires_grad(name, trainable)

    def train(self, name: str, mode: bool) -> None:
        """Turn one LoRA's dropout on or off."""
        for layer in self._layers.values():
            if name in layer.lora_dropout:
                layer.lora_dropout[name].train(mode)

    def merge(self) -> None:
        """Give the adapted layers merged copies of their weights for the LoRAs at work, see `PatchedModel.merge`."""
        for layer in self._layers.values():
            if isinstance(layer, LeanLinear):
                layer.merge_copy()

    def unmerge(self) -> None:
        """Drop the merged copies."""
        for layer in self._layers.values():
            if isinstance(layer, LeanLinear):
                layer.merged_copy = None

    @contextlib.contextmanager
    def only(self, names: Sequence[str]) -> Iterator[None]:
        """For the time of the context, exactly these LoRAs are active, at the factors last set."""
        before = list(self._active)
        if list(names) == before:
            yield
            return
        self._activate(list(names))
        try:
            yield
        finally:
            self._activate(before)

    @contextlib.contextmanager
    def rows(self, masks: Mapping[str, Sequence[bool]]) -> Iterator[None]:
        """For the time of the context, a LoRA works on some rows of the batch only; the others get an exact zero from it.

        peft's own mixed batches allow one adapter a row; patches add up, so each LoRA's inner
        activation is masked instead (ones and zeros, exact in every floating-point type). Beams
        repeat rows in place, which the mask follows.

        Args:
            masks: For each LoRA to restrict, one flag a row.
        """
        handles = []
        try:
            for name, flags in masks.items():
                mask = _RowMask(flags)
                parts = [
                    layer.lora_A[name] for layer in self._layers.values() if name in layer.lora_A
                ]
                handles += [part.register_forward_hook(mask) for part in parts]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Adapter-file key -> parameter, e.g. `base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight`."""
        return {
            f"base_model.model.{path}.{part}.weight": getattr(layer, part)[name].weight
            for path, layer in self._layers.items()
            for part in _PARTS
            if name in getattr(layer, part)
        }

    def unload(self) -> None:
        """Take all LoRAs off and give the plain layers back."""
        for name in list(self._trainable):
            self.remove(name)


class _RowMask:
    """Forward hook that zeroes the rows of `[B, L, rank]` whose flag is off."""

    def __init__(self, flags: Sequence[bool]) -> None:
        self._flags = torch.tensor(list(flags))
        self._masks: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        key = (output.shape[0], output.dtype, output.device)
        if key not in self._masks:
            repeat, rest = divmod(output.shape[0], len(self._flags))
            if rest:
                raise PatchError(
                    f"a batch of {output.shape[0]} rows cannot be matched with {len(self._flags)} "
                    "prompts"
                )
            self._masks[key] = self._flags.repeat_interleave(repeat).to(output.device, output.dtype)
        return output * self._masks[key].view(-1, *[1] * (output.dim() - 1))
