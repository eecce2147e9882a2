"""Prefixes that the language model has read, and rows of questions that go on behind them.

A prefix is read once and kept as keys and values. Each question about it gets a row that begins
with a copy of them. transformers' own cache joins all that a row holds with every new token, which
copies the prefix at each step; here rows have free places for what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from pave.answer.model import AnsweringModel
from pave.answer.questions import Questions
from pave.bases import Base, prefix_positions

_SPARE = 64
"""Places that a row gets at a time, beyond what is there: a token more copies nothing."""


@dataclass(frozen=True)
class Prefix:
    """What the language model made of one clip's prefix of P tokens.

    It holds for the patches, and their weights, with which it was read.

    Attributes:
        keys: `[heads, P, width]` of each layer.
        values: `[heads, P, width]` of each layer.
    """

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        total = 0
        for tensor in [*self.keys, *self.values]:
            total += tensor.nbytes
        return total


def read_prefixes(model: AnsweringModel, clips: Sequence[Questions]) -> list[Prefix]:
    """Read the prefixes of some clips, in one pass of the language model.

    Args:
        model: The model, with the wanted patches on.
        clips: Clips; what is asked about them does not matter.
    """
    base = model.base
    channels, times, visuals = [], [], []  # one a clip
    for clip in clips:
        channels.append(clip.features.channels)
        times.append(clip.features.clip.times)
        visuals.append(clip.features.visual)
    batch, places = _prefixes(base, clips, 1)
    # The head runs over its last positions alone, see `answering`.
    read = model(
        channels=channels,
        times=times,
        visuals=visuals,
        **batch,
        position_ids=_padded(base, [place[:, :-1] for place in places]),
        use_cache=True,
    )
    found = []
    for row, clip in enumerate(clips):
        # Padding is on the left.
        start = -len(clip.prefix)
        prefix = Prefix([], [])
        for layer in read.past_key_values.layers:
            prefix.keys.append(layer.keys[row, :, start:])
            prefix.values.append(layer.values[row, :, start:])
        found.append(prefix)
    return found


def behind_prefixes(
    base: Base, clips: Sequence[Questions], prefixes: Sequence[Prefix], *, packed: bool = False
) -> dict[str, Any]:
    """Inputs of `generate` with a row for each question, whose cache holds the prefix already.

    Args:
        base: The base.
        clips: Clips with their questions.
        prefixes: What `read_prefixes` made of each clip; they stay as they are.
        packed: Whether the cache has a row for each clip, for `pave.answer.packed`, else for each
            question.
    """
    longest = 0  # tokens of a question
    for clip in clips:
        longest = max(longest, *map(len, clip.asked))
    prefix, places = _prefixes(base, clips, longest)
    before = _padded(base, [place[:, :-longest] for place in places])
    # One row a question from here on.
    owners = []
    questions = []
    behind = []
    copied = []  # the prefix of each row
    for number, clip in enumerate(clips):
        for asked in clip.asked:
            owners.append(number)
            questions.append(asked)
            copied.append(prefixes[number])
            start = len(clip.prefix)
            behind.append(places[number][:, start : start + len(asked)])  # [A, len(asked)]
    rows = torch.tensor(owners)  # [questions], the clip of each
    question = base.batch(questions, pad="left")  # [questions, Q]
    joined: dict[str, Any] = {}  # [prefix | padding | question] in each row
    for key in ("input_ids", "attention_mask"):
        joined[key] = torch.cat([prefix[key][rows], question[key]], dim=1)
    joined["position_ids"] = torch.cat([before[..., rows, :], _padded(base, behind)], dim=-1)
    if packed:
        most = max(len(clip.asked) for clip in clips)
        joined["past_key_values"] = _cache(prefixes, most * longest, most * _SPARE)
    else:
        joined["past_key_values"] = _cache(copied, longest, _SPARE)
    return joined


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values `[rows, heads, places, width]`; new ones go into free places.

    `keys` and `values`, which transformers reads, are views of the places that are filled.
    """

    def __init__(self, keys: Tensor, values: Tensor, filled: int, spare: int) -> None:
        super().__init__()
        self._spare = spare
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._all = (keys, values)
        self._fill(filled)

    def update(
        self, key_states: Tensor, value_states: Tensor, *words: Any, **named: Any
    ) -> tuple[Tensor, Tensor]:
        """Add what was made of the next tokens; all keys and values so far."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        keys, values = self._all
        if end > keys.shape[-2]:  # all places are taken
            more = (0, 0, 0, end + self._spare - keys.shape[-2])
            keys, values = F.pad(keys, more), F.pad(values, more)
            self._all = (keys, values)
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self._fill(end)
        return self.keys, self.values

    def _fill(self, count: int) -> None:
        # Without a copy: attention reads the filled places where they are.
        keys, values = self._all
        self.keys, self.values = keys[:, :, :count], values[:, :, :count]


def _cache(rows: Sequence[Prefix], following: int, spare: int) -> Any:
    """A cache of one row for each prefix, padded on the left.

    Args:
        rows: The prefixes.
        following: Places for what follows at once.
        spare: Places that a row gets at a time beyond these.
    """
    filled = 0  # places of the longest prefix
    for prefix in rows:
        filled = max(filled, prefix.keys[0].shape[1])
    layers = []
    for number in range(len(rows[0].keys)):
        keys, values = [], []  # of this layer, one a row
        for prefix in rows:
            keys.append(prefix.keys[number])
            values.append(prefix.values[number])
        places = filled + following + spare
        copies = (_side_by_side(keys, filled, places), _side_by_side(values, filled, places))
        layers.append(_Layer(*copies, filled, spare))
    return Cache(layers=layers)


def _side_by_side(rows: Sequence[Tensor], filled: int, places: int) -> Tensor:
    """`[heads, P, width]` of each row -> `[rows, heads, places, width]`, the first `filled` set."""
    heads, _, width = rows[0].shape
    joined = rows[0].new_empty(len(rows), heads, places, width)
    for row, tensor in zip(joined, rows, strict=True):
        start = filled - tensor.shape[1]
        # Padding is masked out, but 0 times a number that is not finite would not be 0.
        row[:, :start] = 0
        row[:, start:filled] = tensor
    return joined


def _prefixes(
    base: Base, clips: Sequence[Questions], longest: int
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The prefixes as a batch `[clips, P]`, and for each clip `[A, P + longest]` positions.

    Those are the prefix's own, and where the tokens of a question behind it stand.
    """
    prefixes, whole = [], []
    for clip in clips:
        prefixes.append(clip.prefix)
        whole.append(clip.features.clip)
    # Pixels have become visual tokens by now.
    prefix = base.batch(prefixes, whole, pad="left", pixels=False)
    return prefix, prefix_positions(base, prefixes, whole, longest)


def _padded(base: Base, positions: Sequence[Tensor]) -> Tensor:
    """Left-padded positions `[B, L]`, or `[3, B, L]` where a family has several axes."""
    length = max(row.shape[1] for row in positions)
    # What stands in the padding is masked out; 0 is as good as any.
    padded = [F.pad(row, (length - row.shape[1], 0)) for row in positions]
    stacked = torch.stack(padded, dim=1).to(base.device)  # [A, B, L]
    return stacked if base.family.mrope else stacked[0]
