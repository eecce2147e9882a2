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
from pave.train.batch import TrainBatch
from pave.train.batches import Sample
from pave.train.gated import GateTerms, gate_terms


class Collator:
    """Samples to what `AnswerModel` takes.

    With one dialogue a sequence the mask is the ordinary one and every base works. Packed sequences
    bring their own positions and a mask of who sees whom, which not every attention can take.

    Args:
        base: Makes the model inputs.
        packed: Whether sequences may hold several dialogues.
        gates: `Part.key` of each channel that has a question gate.

    Raises:
        ConfigError: If the base cannot train on packed sequences.
    """

    def __init__(self, base: Base, packed: bool, gates: Sequence[str] = ()) -> None:
        """Refuse early what cannot work."""
        self.base, self.packed, self.gates = base, packed, gates
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

    def __call__(self, samples: Sequence[Sample]) -> TrainBatch:
        """Everything but the clips' tokens is on the device of the base."""
        device = self.base.device
        sequences, clips, ids = [], [], []
        visuals, channels, times = [], [], []
        for packed, features in _rows(samples):
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
        pairs = None
        if any(sequence.pairs for sequence in sequences):
            pairs = pair_numbers(samples).to(device)  # [N]
        return TrainBatch(
            inputs=inputs,
            keep=keep.to(device),
            targets=labels.to(device),
            visuals=visuals,
            channels=channels,
            times=times,
            pairs=pairs,
            gate=self._gate(samples),
        )

    def _gate(self, samples: Sequence[Sample]) -> GateTerms | None:
        """What question gates weigh, if there are any."""
        if not self.gates:
            return None
        taught = []
        for sample in samples:
            assert sample.gate is not None  # a run has gates in all of its samples
            taught.append((sample.gate, sample.sequences))
        return gate_terms(self.base, self.gates, taught).moved(self.base.device)

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
    """The rows of a batch: each sample's sequences, in every way in which its clip is shown."""
    for sample in samples:
        for features in sample.shown():
            for sequence in sample.sequences:
                yield sequence, features


def pair_numbers(samples: Sequence[Sample]) -> Tensor:
    """Of each label of a batch, `[N]`, which answer it is of: see `Packed.pairs`.

    Pairs are numbered on from sample to sample, and in each way to show a clip they are others.
    """
    numbers: list[int] = []
    taken = 0  # numbers so far
    for sample in samples:
        own = []
        for sequence in sample.sequences:
            own += sequence.pairs or [0] * len(sequence.labels)
        count = max(map(abs, own), default=0)
        for _ in sample.shown():
            numbers += [_numbered_on(pair, taken) for pair in own]
            taken += count
    return torch.tensor(numbers)


def _numbered_on(pair: int, taken: int) -> int:
    """The number of a pair when so many are taken; 0 is no pair."""
    if pair > 0:
        return pair + taken
    if pair < 0:
        return pair - taken
    return 0
