"""From groups of records to batches: a fixed plan of what is trained when, and the tensors of each step.

The plan is a function of seed and position alone. So a resumed run continues with the very batches it would have seen, however
it was interrupted, and several processes share the work without talking.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pave.bases.base import Base
from pave.data import ClipFeatures, Features, Packed, Record, pack, positions_and_mask, targets
from pave.errors import ConfigError, RecordError


class Plan:
    """Which questions of which clip share a sequence, for ever.

    Every epoch uses each question once: the questions of a clip are shuffled and cut into the fewest equal parts of at most
    `questions` each, and the parts of all clips are shuffled. Epochs follow one another without a gap.

    Args:
        sizes: Number of questions of each clip.
        questions: Most questions in one sequence.
        seed: Of all shuffling.

    Example:
        >>> plan = Plan([3, 1], questions=2, seed=0)
        >>> plan.per_epoch, sorted(len(part) for _, part in (plan[i] for i in range(3)))
        (3, [1, 1, 2])
    """

    def __init__(self, sizes: Sequence[int], questions: int, seed: int) -> None:
        """Count the sequences of an epoch; nothing is drawn yet."""
        self.sizes, self.questions, self.seed = list(sizes), questions, seed
        self.per_epoch = sum(math.ceil(size / questions) for size in sizes)
        self._epoch, self._parts = -1, list[tuple[int, list[int]]]()

    def __getitem__(self, position: int) -> tuple[int, list[int]]:
        """`(clip, its questions)` of the sequence at a position of the endless plan."""
        epoch, within = divmod(position, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._parts = epoch, self._draw(epoch)
        return self._parts[within]

    def _draw(self, epoch: int) -> list[tuple[int, list[int]]]:
        chance = random.Random(f"{self.seed}/{epoch}")
        parts = []
        for clip, size in enumerate(self.sizes):
            order = list(range(size))
            chance.shuffle(order)
            count = math.ceil(size / self.questions)
            parts += [(clip, order[start::count]) for start in range(count)]
        chance.shuffle(parts)
        return parts


@dataclass(frozen=True)
class Sample:
    """One sequence and the clip it is about."""

    packed: Packed
    features: ClipFeatures


class Sequences(Dataset[Sample]):
    """The plan's sequences with their features, as many as the run will take.

    Args:
        base: Makes the token ids.
        features: Cached tokens of the clips.
        groups: Records by clip.
        plan: What goes together.
        length: Sequences in the whole run.
        prompt: How a question is put, with `{question}` in it.

    Raises:
        RecordError: If a record lacks an answer.
    """

    def __init__(
        self,
        base: Base,
        features: Features,
        groups: Sequence[Sequence[Record]],
        plan: Plan,
        length: int,
        prompt: str = "{question}",
    ) -> None:
        """Check that there is something to learn in each record."""
        self.base, self.features, self.groups, self.plan, self.length, self.prompt = (
            base,
            features,
            groups,
            plan,
            length,
            prompt,
        )
        for record in (record for group in groups for record in group):
            if record.turns[-1].answer is None:
                raise RecordError(
                    f"record {record.id}: its last question has no answer to train on; add it or remove the record"
                )

    def __len__(self) -> int:
        """Sequences in the whole run, all epochs."""
        return self.length

    def __getitem__(self, position: int) -> Sample:
        """Read, encode and pack one sequence."""
        clip, chosen = self.plan[position]
        records = [self.groups[clip][index] for index in chosen]
        features = self.features[records[0]]
        # One call for all records, because the placeholders of a long clip take longer to tokenise than all questions.
        turns = [(self.prompt.replace("{question}", turn.question), turn.answer) for record in records for turn in record.turns]
        prompt = self.base.encode_prompt(features.clip.text, turns)
        rest = iter(prompt.turns)
        prompts = [replace(prompt, turns=[next(rest) for _ in record.turns]) for record in records]
        return Sample(pack(prompts), features)


class Collator:
    """Samples to the keyword arguments of `AnswerModel`.

    With one dialogue a sequence the mask is the ordinary one and every family works. Packed sequences need explicit positions
    and a 4-D mask, which families with multi-axial positions and fused attention kernels cannot take.

    Args:
        base: Makes the model inputs.
        packed: Whether sequences may hold several dialogues.

    Raises:
        ConfigError: If the base cannot train on packed sequences.
    """

    def __init__(self, base: Base, packed: bool) -> None:
        """Refuse early what cannot work."""
        self.base, self.packed = base, packed
        self.attention = str(getattr(base.config.get_text_config(), "_attn_implementation", "sdpa"))
        if packed and base.spec.mrope:
            raise ConfigError(f"{base.spec.name} has multi-axial positions; set questions_per_video to 1")
        if packed and self.attention not in ("sdpa", "eager"):
            raise ConfigError(f"{self.attention} takes no free mask; set questions_per_video to 1, or load the base with sdpa")

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Right-padded inputs, where to compute logits, what to expect there, and the tokens of each clip."""
        sequences = [sample.packed for sample in samples]
        features = [sample.features for sample in samples]
        inputs = self.base.batch([sequence.ids for sequence in sequences], [feature.clip for feature in features], pad="right")
        if self.packed:
            positions, mask = positions_and_mask(sequences)
            inputs["position_ids"] = positions.to(self.base.device)
            inputs["attention_mask"] = self._mask(mask).to(self.base.device)
        keep, labels = targets(sequences)
        return {
            "inputs": inputs,
            "keep": keep.to(self.base.device),
            "labels": labels.to(self.base.device),
            "visuals": [feature.visual for feature in features],
            "channels": [dict(feature.channels) for feature in features],
            "times": [feature.clip.times for feature in features],
        }

    def _mask(self, mask: Tensor) -> Tensor:
        """Eager attention adds the mask to the scores, so it needs numbers."""
        if self.attention == "sdpa":
            return mask
        return torch.zeros(mask.shape, dtype=self.base.dtype).masked_fill_(~mask, torch.finfo(self.base.dtype).min)
