"""From sequences to the tensors of one training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases import Base, prefix_positions, why_no_shared_prefix
from pave.data import targets
from pave.data.packing import positions, segments, visible, visible_blocks
from pave.errors import ConfigError
from pave.train.attention import FLEX, attention_of, takes_rules
from pave.train.batches import Sample


class Collator:
    """Samples to the keyword arguments of `AnswerModel`.

    With one dialogue a sequence the mask is the ordinary one and every base works. Packed sequences
    bring their own positions and a mask of who sees whom, which not every attention can take.

    Args:
        base: Makes the model inputs.
        packed: Whether sequences may hold several dialogues.

    Raises:
        ConfigError: If the base cannot train on packed sequences.
    """

    def __init__(self, base: Base, packed: bool) -> None:
        """Refuse early what cannot work."""
        self.base, self.packed = base, packed
        if not packed:
            return
        reason = why_no_shared_prefix(base)
        if reason:
            raise ConfigError(f"{reason}; set questions_per_video to 1")
        if not takes_rules(base):
            raise ConfigError(
                f"{attention_of(base)} cannot be told on {base.device.type} which tokens see each "
                "other; "
                "set questions_per_video to 1, or load the base with sdpa"
            )

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Right-padded inputs, where to compute logits, what to expect there, and the tokens of each clip."""
        sequences = [sample.packed for sample in samples]
        features = [sample.features for sample in samples]
        clips = [feature.clip for feature in features]
        inputs = self.base.batch([sequence.ids for sequence in sequences], clips, pad="right")
        if self.packed:
            starts = prefix_positions(
                self.base, [sequence.ids[: sequence.prefix] for sequence in sequences], clips
            )
            placed = positions(sequences, starts)
            inputs["position_ids"] = (placed if self.base.family.mrope else placed[0]).to(
                self.base.device
            )
            inputs["attention_mask"] = self._mask(segments(sequences).to(self.base.device))
        keep, labels = targets(sequences)
        return {
            "inputs": inputs,
            "keep": keep.to(self.base.device),
            "labels": labels.to(self.base.device),
            "visuals": [feature.visual for feature in features],
            "channels": [dict(feature.channels) for feature in features],
            "times": [feature.clip.times for feature in features],
        }

    def _mask(self, numbers: Tensor) -> Any:
        """Who sees whom, as the attention that the base has now wants to be told."""
        attention = attention_of(self.base)
        if attention == FLEX:
            return visible_blocks(numbers)
        mask = visible(numbers)
        if attention == "sdpa":
            return mask
        # Eager attention adds the mask to the scores, so it needs numbers.
        zeros = torch.zeros(mask.shape, dtype=self.base.dtype, device=mask.device)
        return zeros.masked_fill_(~mask, torch.finfo(self.base.dtype).min)
