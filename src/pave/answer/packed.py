"""Questions about a clip in one row of the language model, behind one copy of the clip's prefix.

`generate` of transformers works with a row for each question: for each of them the language model
would read padding, and attend to a copy of the prefix. `Packed` puts the tokens of all questions
about a clip beside each other in front of the language model, with a mask that lets each see the
prefix and its own question alone, and takes them apart behind it. Rows that have ended are left
out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.answer.questions import Questions
from pave.bases import Base
from pave.bases.masks import MASKED, as_mask, attention_of

PREFIX, NOTHING = 0, -1
"""Whose a token is in a packed row: the prefix's, or nobody's. Questions count from 1."""
_SLACK = 1.5
"""Places of packed rows for each question at most: clips with few questions are padded."""

Ended = Callable[[Tensor, Any], Tensor]
"""A stopping criterion: ids `[R, L]` and scores -> which rows have ended, `[R]`."""


def pays(base: Base, clips: Sequence[Questions]) -> bool:
    """Whether packed rows give what rows of their own give, and are not mostly padding."""
    if attention_of(base) not in MASKED:  # others cannot be told who sees whom
        return False
    channels = set()
    counts = []
    for clip in clips:
        channels.add(frozenset(clip.features.channels))
        counts.append(len(clip.asked))
    # A LoRA would have to work on some rows, and knows those of `generate`.
    if len(channels) > 1:
        return False
    return is_even(counts)


def is_even(counts: Sequence[int]) -> bool:
    """Whether clips with so many questions each can be packed without much padding.

    Example:
        >>> is_even([3, 2]), is_even([9, 1])
        (True, False)
    """
    return len(counts) * max(counts) <= _SLACK * sum(counts)


class _Moved(NamedTuple):
    """N tokens that go from the rows of `generate` into packed rows.

    Attributes:
        rows: `[N]`: row of `generate` in which each stands.
        columns: `[N]`: column of it.
        clips: `[N]`: packed row into which it goes.
        places: `[N]`: its place there.
    """

    rows: Tensor
    columns: Tensor
    clips: Tensor
    places: Tensor

    def of(self, chosen: Tensor) -> _Moved:
        """Those that are `chosen`, `[N]` bool."""
        return _Moved(
            rows=self.rows[chosen],
            columns=self.columns[chosen],
            clips=self.clips[chosen],
            places=self.places[chosen],
        )


class Packed:
    """Between `generate`, with R rows, and the language model, with a row for each of C clips.

    It is a stopping criterion of that `generate` too, by which it learns which rows have ended.

    Args:
        base: The base.
        clips: Clips with their questions; rows follow them in this order.
        ends: Tokens that end an answer.
        others: Further criteria.
    """

    def __init__(
        self,
        base: Base,
        clips: Sequence[Questions],
        ends: Collection[int],
        others: Sequence[Ended] = (),
    ) -> None:
        self._base = base
        self._ends = torch.tensor(sorted(ends))
        self._others = others
        owners = []
        for number, clip in enumerate(clips):
            owners += [number] * len(clip.asked)
        self._owners = torch.tensor(owners)  # [R], the clip of each row
        self._live = torch.ones(len(owners), dtype=torch.bool)  # [R]
        self._keys = _keys_of_prefixes(clips)  # [C, K], whose each key is
        self._last: _Moved | None = None  # the last tokens of live rows in this pass

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """For the time of the context the language model gets packed rows."""
        language = getattr(self._base.inner, self._base.family.language_model)
        before = language.register_forward_pre_hook(self._pack, with_kwargs=True)
        after = language.register_forward_hook(self._unpack)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def __call__(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Which rows have ended, `[R]`."""
        last = ids[:, -1].cpu()  # [R]
        ended = torch.isin(last, self._ends)
        for other in self._others:
            found = other(ids, scores)
            ended |= found.cpu()
        self._live &= ~ended
        live = self._live.to(ids.device)
        return ~live

    def _pack(
        self, module: Any, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Forward pre-hook of the language model: R rows -> C rows."""
        embeds = named["inputs_embeds"]  # [R, q, D]
        positions = named["position_ids"]  # [R, q], or [A, R, q] on several axes
        steps = embeds.shape[1]
        moved = self._moved(steps, named["attention_mask"])
        is_last = moved.columns == steps - 1  # [N]
        self._last = moved.of(is_last)
        new = self._whose(moved)  # [C, width]
        self._keys = torch.cat([self._keys, new], dim=1)  # [C, K]
        seen = visible(self._keys, new)  # [C, 1, width, K]
        seen = seen.to(embeds.device)
        packed = dict(named)
        packed["inputs_embeds"] = _tokens_in_rows(embeds, moved, new.shape)
        packed["position_ids"] = _positions_in_rows(positions, moved, new.shape)
        packed["attention_mask"] = as_mask(self._base, seen)
        return args, packed

    def _moved(self, steps: int, mask: Tensor | None) -> _Moved:
        """Which of the tokens `[R, steps]` go where: those that are no padding, in live rows."""
        count = len(self._owners)
        kept = torch.ones(count, steps, dtype=torch.bool)  # [R, steps]
        # Without a mask there is no padding.
        if mask is not None:
            new = mask[:, -steps:]
            kept &= new.cpu().bool()
        # A GPU learns a step late that all have ended.
        if self._live.any():
            kept &= self._live[:, None]
        rows, columns = kept.nonzero(as_tuple=True)  # row by row
        clips = self._owners[rows]
        places = _counted(clips, len(self._keys))
        return _Moved(rows, columns, clips, places)

    def _whose(self, moved: _Moved) -> Tensor:
        """Whose each new token of the packed rows is, `[C, width]`."""
        last = int(moved.places.max())
        shape = (len(self._keys), last + 1)
        new = torch.full(shape, NOTHING)
        new[moved.clips, moved.places] = moved.rows + 1
        return new

    def _unpack(self, module: Any, args: Any, output: Any) -> Any:
        """Forward hook: the last tokens of C rows -> `[R, 1, D]`, zeros in rows that have ended."""
        last = self._last
        assert last is not None  # `_pack` has set it
        hidden = output.last_hidden_state  # [C, width, D]
        rows = len(self._owners)
        size = hidden.shape[-1]
        apart = hidden.new_zeros(rows, 1, size)
        apart[last.rows, 0] = hidden[last.clips, last.places]
        output.last_hidden_state = apart
        return output


def _tokens_in_rows(embeds: Tensor, moved: _Moved, shape: torch.Size) -> Tensor:
    """Tokens in their packed rows, with zeros for padding.

    Args:
        embeds: `[R, q, D]`, of the rows of `generate`.
        moved: Which of them go where.
        shape: C and the width of packed rows.

    Returns:
        `[C, width, D]`
    """
    size = embeds.shape[-1]
    packed = embeds.new_zeros(*shape, size)
    packed[moved.clips, moved.places] = embeds[moved.rows, moved.columns]
    return packed


def _positions_in_rows(positions: Tensor, moved: _Moved, shape: torch.Size) -> Tensor:
    """Positions in the packed rows: `[R, q]` as `[C, width]`, or `[A, R, q]` as `[A, C, width]`.

    They are moved as `_tokens_in_rows` moves what they belong to.
    """
    axes = positions.shape[:-2]
    packed = positions.new_zeros(*axes, *shape)
    packed[..., moved.clips, moved.places] = positions[..., moved.rows, moved.columns]
    return packed


def _keys_of_prefixes(clips: Sequence[Questions]) -> Tensor:
    """Whose each key is when the prefixes have been read, `[C, K]`."""
    longest = 0  # tokens of a prefix
    for clip in clips:
        longest = max(longest, len(clip.prefix))
    keys = torch.full((len(clips), longest), NOTHING)
    for row, clip in enumerate(clips):
        # Prefixes are padded on the left.
        start = longest - len(clip.prefix)
        keys[row, start:] = PREFIX
    return keys


def visible(keys: Tensor, new: Tensor) -> Tensor:
    """Who sees whom, `[C, 1, N, K]`.

    Args:
        keys: Whose each key is, `[C, K]`; the last N are the new tokens.
        new: Whose each new token is, `[C, N]`.

    Example:
        >>> visible(torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2]])).int()[0, 0].tolist()
        [[1, 1, 0], [1, 0, 1]]
    """
    width = new.shape[1]
    # Padding sees the prefix, so that no row of the softmax is empty.
    sees = new.clamp(min=PREFIX)[:, :, None]  # [C, N, 1]
    seen = keys[:, None, :]  # [C, 1, K]
    allowed = (seen == PREFIX) | (seen == sees)  # [C, N, K]
    # Of the new tokens, only those before it.
    square = torch.ones(width, width, dtype=torch.bool)
    allowed[:, :, -width:] &= square.tril()
    return allowed[:, None]


def _counted(clips: Tensor, count: int) -> Tensor:
    """Of each of N tokens its place among those of its clip, `[N]`."""
    owned = F.one_hot(clips, count)  # [N, C]
    so_far = owned.cumsum(0)  # [N, C]
    own = so_far.gather(1, clips[:, None])  # [N, 1], itself counted
    return own[:, 0] - 1
