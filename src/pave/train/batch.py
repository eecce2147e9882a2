"""`TrainBatch`: what one forward pass trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pave.bases.visual import Visual
from pave.tokens import Tokens
from pave.train.gated import GateTerms

UNCOUNTED = -100
"""Label of a token that does not count, PyTorch's own."""


@dataclass(frozen=True)
class TrainBatch:
    """B sequences with N tokens to predict, each sequence with the clip that it is about.

    It has no method `to`: accelerate would call it as soon as a batch is made, and the clips of all
    passes of an optimiser step would lie on the device together.

    Attributes:
        inputs: `input_ids [B, L]`, `attention_mask` and what else the base needs.
        keep: `[B, L]` bool, positions whose next token is to be predicted.
        targets: `[N]` those tokens, row by row.
        visuals: The base's visual tokens, one a sequence.
        channels: Side tokens, one mapping a sequence.
        times: `[T]` seconds of the visual steps, one tensor a sequence.
        pairs: `[N]` where wrong answers are among the targets: see `answer_losses`.
        gate: What question gates weigh, where the patch has any.

    Example:
        >>> batch = Collator(base, packed=False)(samples)  # doctest: +SKIP
        >>> AnswerModel(patched)(batch)["loss"]            # doctest: +SKIP
        tensor(3.1, grad_fn=<AddBackward0>)
    """

    inputs: Mapping[str, Tensor]
    keep: Tensor
    targets: Tensor
    visuals: Sequence[Visual]
    channels: Sequence[Mapping[str, Tokens]]
    times: Sequence[Tensor]
    pairs: Tensor | None = None
    gate: GateTerms | None = None

    @property
    def labels(self) -> Tensor:
        """`[N]` the targets; those by which the mean is not divided are `UNCOUNTED`."""
        counted = torch.ones_like(self.targets, dtype=torch.bool)
        if self.pairs is not None:
            counted &= self.pairs >= 0  # nothing is learnt by a wrong answer itself
        if self.gate is not None:
            counted &= self.gate.counted  # two ways to answer a question count once
        return self.targets.masked_fill(~counted, UNCOUNTED)

    def moved(self, device: torch.device) -> TrainBatch:
        """The same on one device, the clips' tokens too, which come from the cache on the CPU."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        visuals = [visual.to(device) for visual in self.visuals]
        channels = [_side_to(clip, device) for clip in self.channels]
        pairs, gate = self.pairs, self.gate
        if pairs is not None:
            pairs = pairs.to(device)
        if gate is not None:
            gate = gate.moved(device)
        return replace(
            self,
            inputs=inputs,
            keep=self.keep.to(device),
            targets=self.targets.to(device),
            visuals=visuals,
            channels=channels,
            pairs=pairs,
            gate=gate,
        )


def _side_to(clip: Mapping[str, Tokens], device: torch.device) -> dict[str, Tokens]:
    """One clip's side tokens on a device."""
    moved = {}
    for name, tokens in clip.items():
        moved[name] = tokens.to(device)
    return moved
