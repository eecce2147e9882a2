"""`LoraSet`: the LoRAs of all patches on one language model.

What peft leaves to its callers is done here: trainability is a flag of each patch instead of a side
effect of activating it, and rows of one batch can be switched off one by one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraModel
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pave import cpu, hf_compat
from pave.bases.family import Family
from pave.errors import PatchError
from pave.patches.config import LoraSpec
from pave.patches.lora import Lora, Loras
from pave.patches.lora_targets import check_targets, lora_config


class LoraSet:
    """All LoRAs on one base model.

    Args:
        model: The Hugging Face model; its layers are wrapped in place when the first LoRA comes and
            unwrapped when the last one goes.
        family: Its family.
        base_name: Name of the base, written into adapters.

    Attributes:
        active: Names of the LoRAs that work, see `activate`.
        layers: peft's layers by the name that they have in the plain model.
        kept: Whether `only` is in force.
    """

    def __init__(self, model: nn.Module, family: Family, base_name: str = "") -> None:
        self._model = model
        self._family = family
        self._base_name = base_name
        self._tuner: LoraModel | None = None
        self._names: set[str] = set()  # of the LoRAs on the model
        self._masks: list[RemovableHandle] = []  # of `only`
        self._before: list[str] = []  # what worked before it
        self.active: list[str] = []
        self.kept = False
        self.layers: dict[str, LoraLayer] = {}

    def add(self, name: str, spec: LoraSpec) -> Lora:
        """Put a fresh LoRA on the model: its update is zero, and off until `activate` names it.

        peft may leave any LoRA of the model frozen or not; set that of all of them afterwards.

        Raises:
            PatchError: If no module of the language model has one of the targets' names, or
                somebody else has put an adapter on the model.
        """
        self._only_ours()
        check_targets(self._model, spec, self._family)
        config = lora_config(spec, self._family, self._base_name)
        self._names.add(name)
        try:
            if self._tuner is None:
                # The bare tuner, not a PeftModel: the model object stays the user's own.
                self._tuner = LoraModel(self._model, {name: config}, name)
            else:
                self._tuner.peft_config[name] = config
                self._tuner.inject_adapter(self._model, name)
        except ValueError as error:
            self.remove(name)
            raise PatchError(f"peft refuses the LoRA: {error}") from error
        self._find_layers()  # a first LoRA has just wrapped them
        hf_compat.adapter_in_float32(self._model, name)
        if spec.use_dora:
            self._measure_lengths(name)
        self.activate(self.active)
        # Layers of other patches' targets do not have it.
        own = {path: layer for path, layer in self.layers.items() if name in layer.scaling}
        return Lora(name, spec, own)

    def add_all(self, patch: str, specs: Mapping[str, LoraSpec]) -> Lora | Loras | None:
        """Put a patch's LoRAs on the model, see `add`; None if it has none.

        Args:
            patch: The patch's name.
            specs: As `PatchConfig.loras` has them.
        """
        if "" in specs:
            return self.add(patch, specs[""])
        made = {}
        for channel, spec in specs.items():
            # No patch is called so, since names hold no slash.
            made[channel] = self.add(f"{patch}/{channel}", spec)
        if not made:
            return None
        return Loras(made)

    def remove_all(self, patch: str) -> None:
        """Take all LoRAs of a patch off, see `remove`."""
        self._only_ours()  # also where it has none
        for name in sorted(self._names):
            if name.partition("/")[0] == patch:
                self.remove(name)

    def remove(self, name: str) -> None:
        """Take one LoRA off; with the last one the plain layers come back.

        Raises:
            PatchError: If somebody else put an adapter on the model meanwhile; it would go, too.
        """
        self._only_ours()
        self.unmerge()  # the copies hold an update that is about to go
        self._names.discard(name)
        if self._tuner is None:
            return
        with warnings.catch_warnings():
            # peft warns that it activates another adapter; `activate` sets them right.
            warnings.simplefilter("ignore")
            if name in self._tuner.peft_config:
                self._tuner.delete_adapter(name)
        if not self._tuner.peft_config:  # that was the last one
            self._tuner.unload()
            self._tuner = None
        self._find_layers()
        self.activate([other for other in self.active if other != name])

    def _only_ours(self) -> None:
        """Refuse adapters that others put on the model since it was patched."""
        # By our own list: peft's is the model's, to which others add theirs.
        foreign = sorted(set(hf_compat.adapters_on(self._model).values()) - self._names)
        if foreign:
            raise PatchError(
                f"the adapter '{foreign[0]}' was added to the base while it was patched; remove "
                "it (delete_adapter), unpatch, merge it, and patch the result"
            )

    def _measure_lengths(self, name: str) -> None:
        """Take a DoRA's lengths of rows anew, now that its weights are in fp32.

        peft took them in the base's type. Computed with in fp32, a length that was rounded to bf16
        is not that of its row, and a fresh patch would not be the base.
        """
        for layer in self.layers.values():
            if name in layer.lora_magnitude_vector:
                layer.lora_magnitude_vector[name].update_layer(
                    base_layer=layer.get_base_layer(),
                    lora_A=layer.lora_A[name].weight,
                    lora_B=layer.lora_B[name].weight,
                    scaling=layer.scaling[name],
                )

    def _find_layers(self) -> None:
        """The wrapped layers by the name they have in the plain model."""
        self.layers = {}
        for path, module in self._model.named_modules():
            if isinstance(module, LoraLayer):
                self.layers[path] = module

    def activate(self, names: Sequence[str]) -> None:
        """Let exactly these LoRAs work, from now on."""
        self.active = list(names)
        hf_compat.activate_adapters(self.layers.values(), names)

    def merge(self) -> None:
        """Give the layers merged copies of their weights, see `PatchedModel.merge`.

        Raises:
            PatchError: If a layer with a LoRA at work gets none, such as a quantised one.
        """
        for path, layer in self.layers.items():
            cpu.merge(layer)
            if hasattr(layer, "merged_copy") or not layer.lora_A.keys() & set(self.active):
                continue
            self.unmerge()
            plain = layer.get_base_layer()
            why = (
                "its weights may still change, because the model is in training or was made "
                "in inference mode"
            )
            if layer.lora_variant:
                why = "DoRA scales the base's weights instead of adding to them"
            elif type(layer) is not Linear or type(plain) is not nn.Linear:
                why = f"a {type(plain).__name__}, as {type(layer).__name__}, has no plain weights"
            elif not hf_compat.is_called_as_is(plain):
                why = "hooks, or a forward of its own, change what the layer gives"
            raise PatchError(
                f"merge() cannot merge the LoRA into {path} ({why}); use the patch unmerged, "
                "which gives the same answers"
            )

    def unmerge(self) -> None:
        """Drop the merged copies."""
        for layer in self.layers.values():
            cpu.unmerge(layer)

    @contextlib.contextmanager
    def only(
        self, names: Sequence[str], masks: Mapping[str, Sequence[bool]], *, stay: bool = False
    ) -> Iterator[None]:
        """For the time of the context exactly these LoRAs work, some on some rows only.

        peft's own mixed batches allow one adapter a row; patches add up, so each LoRA's inner
        activation is masked instead (ones and zeros, exact in every floating-point type): the other
        rows get an exact zero from it. Beams repeat rows in place, which the mask follows.

        Args:
            names: LoRAs that work.
            masks: For each of them that is restricted, one flag a row.
            stay: Leave it so until `release`, for training, where checkpointing runs layers again
                in the backward pass.
        """
        if self.kept:
            self.release()
        for layer in self.layers.values():
            if layer.disable_adapters or layer.active_adapters != self.active:
                raise PatchError(
                    "adapters were switched through peft while the base was patched; switch "
                    "patches with set_patches, and remove other adapters"
                )
        self.kept, self._before = True, self.active
        try:
            self.activate(names)
            self._mask(masks)
            yield
        finally:
            # Also after an error: a mask left behind would silence rows of the next call.
            if not stay:
                self.release()

    def release(self) -> None:
        """Undo `only`."""
        for handle in self._masks:
            handle.remove()
        self._masks.clear()
        if self.kept:
            self.activate(self._before)
        self.kept = False

    def _mask(self, masks: Mapping[str, Sequence[bool]]) -> None:
        """Silence LoRAs on single rows, until `release`."""
        # Compiled code does not look for new hooks.
        if masks and self._is_compiled():
            raise PatchError(
                "part of the base is compiled, so a LoRA cannot be left out for single rows; "
                "pass clips with and without the channel in separate calls, or do not compile"
            )
        for name, flags in masks.items():
            mask = _RowMask(flags)
            for layer in self.layers.values():
                if name not in layer.lora_A:
                    continue
                # DoRA adds one thing more than B A x: mask all that it adds.
                part: Any = layer.lora_A[name]
                if name in layer.lora_magnitude_vector:
                    part = layer.lora_magnitude_vector[name]
                self._masks.append(part.register_forward_hook(mask))

    @property
    def masked(self) -> bool:
        """Whether a LoRA is silenced on some rows now."""
        return bool(self._masks)

    def _is_compiled(self) -> bool:
        """Whether a layer with a LoRA runs as a part of compiled code."""
        # A tower may be compiled: no LoRA is in it.
        for path, module in self._model.named_modules():
            if not hf_compat.is_compiled(module):
                continue
            for layer in self.layers:
                if not path or layer == path or layer.startswith(f"{path}."):
                    return True
        return False


class _RowMask:
    """Forward hook that zeroes the rows of `[B, L, rank]` whose flag is off."""

    def __init__(self, flags: Sequence[bool]) -> None:
        self._flags = torch.tensor(list(flags))
        # [B], made once a call; hundreds of layers share it.
        self._masks: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        rows = output.shape[0]
        key = (rows, output.dtype, output.device)
        if key not in self._masks:
            # Beam search repeats each row in place: a a b b for two beams of rows a, b.
            repeat, rest = divmod(rows, len(self._flags))
            if rest:
                raise PatchError(
                    f"a batch of {rows} rows cannot be matched with {len(self._flags)} prompts"
                )
            self._masks[key] = self._flags.repeat_interleave(repeat).to(output.device, output.dtype)
        mask = self._masks[key]
        return output * mask.view(-1, *[1] * (output.dim() - 1))  # [B, 1, 1]
