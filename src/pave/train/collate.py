"""From sequences to the tensors of one training step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases import Base, Clip, prefix_positions, why_no_shared_prefix
from pave.bases.masks import as_mask, attention_of
from pave.data import ClipFeatures, Packed, targets
from pave.data.packing import positions, segments, visible, visible_blocks
from pave.errors import ConfigError
from pave.train.attention import FLEX, takes_rules
from pave.train.batches import Sample
from pave.train.gated import CLOSED, gate_inputs, gated_rows

UNCOUNTED = -100
"""Label of a token that does not count, PyTorch's own."""


class Collator:
    """Samples to the keyword arguments of `AnswerModel`.

    With one dialogue a sequence the mask is the ordinary one and every base works. Packed sequences
    bring their own positions and a mask of who sees whom, which not every attention can take.

    Args:
        base: Makes the model inputs.
        packed: Whether sequences may hold several dialogues.
        gated: Name of the tokens that a question gate mutes; None where the patch has no gate.

    Raises:
        ConfigError: If the base cannot train on packed sequences.
    """

    def __init__(self, base: Base, packed: bool, gated: str | None = None) -> None:
        """Refuse early what cannot work."""
        self.base, self.packed, self.gated = base, packed, gated
        if not packed:
            return
        reason = why_no_shared_prefix(base)
        if reason:
            raise ConfigError(f"{reason}; set questions_per_video to 1")
        if not takes_rules(base):
            raise ConfigError(
                f"{attention_of(base)} cannot be told on {base.device.type} which tokens see each "
                "other; set questions_per_video to 1, or load the base with sdpa"
            )

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The inputs, where to compute logits and what to expect there, and each clip's tokens."""
        device = self.base.device
        sequences, clips, ids = [], [], []
        visuals, channels, times = [], [], []
        for packed, features in self._rows(samples):
            sequences.append(packed)
            ids.append(packed.ids)
            clips.append(features.clip)
            visuals.append(features.visual)
            channels.append(dict(features.channels))
            times.append(features.clip.times)  # [T], seconds
        # Padding on the right, so that positions count from the sequence's own beginning.
        inputs = self.base.batch(ids, clips, pad="right", pixels=False)  # input_ids [B, L]
        if self.packed:
            inputs["position_ids"] = self._positions(sequences, clips).to(device)
            inputs["attention_mask"] = self._mask(segments(sequences).to(device))  # of [B, L]
        keep, labels = targets(sequences)  # [B, L], [N]
        batch = {
            "inputs": inputs,
            "keep": keep.to(device),
            "labels": labels.to(device),
            "visuals": visuals,
            "channels": channels,
            "times": times,
        }
        if any(sequence.pairs for sequence in sequences):
            numbers = pair_numbers(samples)  # [N]
            batch["pairs"] = torch.stack([labels, numbers]).to(device)
            # The Trainer counts labels: a wrong answer is nothing that is learnt.
            batch["labels"] = labels.masked_fill(numbers < 0, UNCOUNTED).to(device)
        if self.gated is not None:
            questions, owners = gate_inputs(self.base, samples, self.gated)  # [K, D], [3, N]
            batch["questions"] = questions.to(device)
            batch["gated"] = torch.cat([labels[None], owners]).to(device)
            # Two answers to one question count once.
            batch["labels"] = labels.masked_fill(owners[1] == CLOSED, UNCOUNTED).to(device)
        return batch

    def _rows(self, samples: Sequence[Sample]) -> Iterator[tuple[Packed, ClipFeatures]]:
        """Each sequence with the clip it is about."""
        if self.gated is None:
            yield from _rows(samples)
            return
        for packed, features, _ in gated_rows(samples, self.gated):
            yield packed, features

    def _positions(self, sequences: Sequence[Packed], clips: Sequence[Clip]) -> Tensor:
        """Where each token stands, `[B, L]`, or `[3, B, L]` for bases with multimodal positions.

        Every dialogue goes on from the end of the shared prefix, as if it were alone.
        """
        # What comes before the questions: [P] ids a sequence.
        prefixes = [sequence.ids[: sequence.prefix] for sequence in sequences]
        longest = 0  # tokens of a dialogue
        for sequence in sequences:
            longest = max(longest, *sequence.blocks)
        placed = positions(sequences, prefix_positions(self.base, prefixes, clips, longest))
        if self.base.family.mrope:
            return placed
        return placed[0]  # there is one axis

    def _mask(self, numbers: Tensor) -> Any:
        """Who sees whom, as the attention that the base has now wants to be told."""
        if attention_of(self.base) == FLEX:
            return visible_blocks(numbers)
        return as_mask(self.base, visible(numbers))


def _rows(samples: Sequence[Sample]) -> Iterator[tuple[Packed, ClipFeatures]]:
    """The rows of a batch: each sample's sequence, and its wrong answer's where that is another."""
    for sample in samples:
        yield sample.packed, sample.features
        if sample.wrong is not None:
            yield sample.wrong, sample.features


def pair_numbers(samples: Sequence[Sample]) -> Tensor:
    """Of each label of a batch, `[N]`, which answer it is of: see `Packed.pairs`.

    Pairs are numbered on from sample to sample.
    """
    numbers: list[int] = []
    taken = 0
    for sample in samples:
        rows = [sample.packed]
        if sample.wrong is not None:
            rows.append(sample.wrong)
        highest = taken
        for row in rows:
            for pair in row.pairs or [0] * len(row.labels):
                if pair > 0:
                    pair += taken
                elif pair < 0:
                    pair -= taken
                numbers.append(pair)
                highest = max(highest, pair)
        taken = highest
    return torch.tensor(numbers)
