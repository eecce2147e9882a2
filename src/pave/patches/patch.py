"""`Patch`: a fusion and a LoRA on a base, with all that is known of them.

A patch is what `patch.json` says it is (`PatchConfig`) and its weights. The fusion is a module of
its own. The LoRA's weights lie inside the base's layers, where peft puts them, so the patch holds a
handle to them (`pave.patches.lora.Lora`) and not the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor, nn

from pave import hf_compat
from pave.errors import ChannelError
from pave.patches.config import PatchConfig
from pave.patches.lora import Lora, Loras
from pave.patches.parts import parts_of
from pave.tokens import Tokens

Side = Sequence[Mapping[str, Tokens]]
"""Side tokens of a call: one mapping a clip, from channel or from one patch's name to `Tokens`."""


class Patch(nn.Module):
    """One patch on a base.

    As a module it holds the fusion alone: `parameters()` are the fusion's. The fusion stays float32
    when the model around it is cast: it is small, its residual is added to every visual token, and
    the authors' released patches run so too. The residual is cast last, where it is added.

    Attributes:
        name: What it is called on this base.
        config: The content of its `patch.json`.
        fusion: g(query, side) -> residual; for several channels a `ModuleDict` of them by channel;
            None for a LoRA-only patch.
        parts: Channel -> what belongs to it.
        lora: Handle to its LoRA in the base's layers, or to those of its channels; None without.
        weight: Factor of its residual and of its LoRA's update; 0 switches it off.
        trainable: Whether training changes it.
        saved: What `changes` counted when it was last saved or loaded; None for a patch that was
            never saved.
        folder: Where it was last saved or loaded from.
    """

    fusion: nn.Module | None
    saved: list[int] | None
    folder: Path | None = None

    def __init__(
        self,
        name: str,
        config: PatchConfig,
        fusion: nn.Module | None = None,
        lora: Lora | Loras | None = None,
        *,
        weight: float = 1.0,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.fusion = fusion
        # No modules of their own to nn.Module: the fusions are in `fusion`, and an encoder that is
        # a module must not be cast or counted with the patch.
        self.parts = parts_of(name, config, fusion)
        self.lora = lora
        self.weight = weight
        self.trainable = trainable
        self.saved = None

    def tokens_in(self, clip: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Its tokens among a clip's side tokens, by channel; none where the clip lacks them all.

        Its own name comes before its channel's, so that two patches may listen to one channel
        through different encoders.
        """
        if not isinstance(clip, Mapping):
            raise ChannelError(
                "side channels must be a list of mappings from channel to Tokens, one per clip, "
                f"got a {type(clip).__name__} for a clip"
            )
        found = {}
        for channel, part in self.parts.items():
            tokens = clip.get(part.key)  # [T, S, C] with times [T]
            if tokens is None:
                tokens = clip.get(channel)
            if tokens is None:
                continue
            if not isinstance(tokens, Tokens):
                raise ChannelError(
                    f"channel '{channel}' needs Tokens(values, times), got {type(tokens).__name__}"
                )
            # A sound track of length 0 is as good as none.
            if tokens.values.numel() > 0:
                found[channel] = tokens
        return found

    def set_trainable(self, trainable: bool) -> None:
        """Freeze or unfreeze fusion and LoRA."""
        self.trainable = trainable
        if self.fusion is not None:
            self.fusion.requires_grad_(trainable)
        if self.lora is not None:
            self.lora.set_trainable(trainable)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What training changes: `fusion.<key>` and `lora.<key>` -> parameter."""
        found: dict[str, nn.Parameter] = {}
        if self.fusion is not None and self.trainable:
            for key, parameter in self.fusion.named_parameters():
                if parameter.requires_grad:  # a fusion may hold parameters that are never used
                    found[f"fusion.{key}"] = parameter
        if self.lora is not None and self.trainable:
            for key, parameter in self.lora.parameters().items():
                found[f"lora.{key}"] = parameter
        return found

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the trainable parameters, and the buffers of the fusion.

        Buffers (the mean question of a gate) are not trained, but follow from the records, and a
        patch is made of a checkpoint without them.
        """
        found: dict[str, Tensor] = dict(self.trainable_parameters())
        if self.fusion is not None and self.trainable:
            frozen = {key for key, _ in self.fusion.named_parameters()}
            for key, value in self.fusion.state_dict().items():
                if key not in frozen:
                    found[f"fusion.{key}"] = value
        return found

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parameters by their part, each with a learning rate of its own.

        Returns:
            "fusion", "gate" (the zero-initialised output norm, through which the fusion begins to
            speak, and the gate that reads questions) and "lora"; a part that the patch lacks is an
            empty list.
        """
        gate: set[int] = set()
        for part in self.parts.values():
            # A fusion of another kind may have no output norm, hence no gate.
            norm = getattr(part.fusion, "norm", None)
            if isinstance(norm, nn.Module):
                gate.update(map(id, norm.parameters()))
            if part.gate is not None:
                gate.update(map(id, part.gate.parameters()))
        groups: dict[str, list[nn.Parameter]] = {"fusion": [], "gate": [], "lora": []}
        for key, parameter in self.trainable_parameters().items():
            if key.startswith("lora."):
                groups["lora"].append(parameter)
            elif id(parameter) in gate:
                groups["gate"].append(parameter)
            else:
                groups["fusion"].append(parameter)
        return groups

    def changes(self) -> list[int]:
        """How often each of its tensors was changed in place."""
        tensors: list[Tensor] = list(self.parameters())
        if self.lora is not None:
            tensors += self.lora.parameters().values()
        return hf_compat.change_counters(tensors)

    @property
    def changed(self) -> bool:
        """Whether its weights are no longer those that its files hold."""
        return self.saved is not None and self.saved != self.changes()

    def train(self, mode: bool = True) -> Self:
        """Turn dropout on where the patch is trainable: a frozen patch adds no noise."""
        super().train(mode and self.trainable)  # the fusion
        if self.lora is not None:
            self.lora.train(mode and self.trainable)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Behind `.to`, `.half` and the like: move the fusion, but keep its precision."""

        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            # Not a change of type: `.to(device)`, or buffers of integers.
            if moved.dtype == tensor.dtype or not tensor.is_floating_point():
                return moved
            return tensor.to(moved.device)

        applied: Any = super()._apply(keep, recurse)  # type: ignore[no-untyped-call]
        return applied  # type: ignore[no-any-return]


if TYPE_CHECKING:
    Patches = dict[str, Patch]
else:

    class Patches(nn.ModuleDict):
        """Name -> `Patch`, in the order in which they came.

        A module with the face of a dict, so that moves, casts and DDP reach the fusions.
        """

        def get(self, name: str, default: Patch | None = None) -> Patch | None:
            """The patch of that name, or the default."""
            if name in self:
                return self[name]
            return default
