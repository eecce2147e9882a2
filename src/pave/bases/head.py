"""Running a language model's head only where logits are needed.

A head over 150,000 words makes, at every position of a long visual prefix, more numbers than all
the rest of the model. Training needs logits in front of answer tokens, generation at the last
position. Some families take `logits_to_keep` for that, some take it and do nothing, so the rows are
picked in front of the head itself, which works on all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from pave.errors import BaseError


@contextlib.contextmanager
def head_at(model: Any, keep: Tensor) -> Iterator[None]:
    """For the time of the context the head sees a few positions only, for a loss.

    Args:
        model: A Hugging Face model with output embeddings.
        keep: `[B, L]` bool, positions to compute logits at; these come as `[N, vocabulary]`, row by
            row.
    """

    def pick(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden = args[0]
        # The head may be on another device than what the model was given.
        return (hidden[keep.to(hidden.device)],)  # [B, L, D] -> [N, D]

    # A hook that stays would cut the logits of every later call.
    with model.get_output_embeddings().register_forward_pre_hook(pick):
        yield


def last_positions(count: int) -> Callable[[Any, tuple[Tensor, ...]], tuple[Tensor]]:
    """Forward pre-hook of a head: `[B, L, D]` -> the last positions, `[B, count, D]`.

    One is enough to generate; as many as an answer has tokens, and the one before it, to weigh it.
    """

    def last(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0][:, -count:],)

    return last


def must_be_numbers(module: Any, args: tuple[Tensor, ...], logits: Tensor) -> None:
    """Forward hook of a head, for an answer: `[B, 1, vocabulary]`.

    Raises:
        BaseError: If the logits hold a NaN or an infinity: the first such token would be the
            answer, again and again.
    """
    if not logits.isfinite().all():  # a thousandth of the head's own work
        raise BaseError(
            "the model cannot answer: its logits hold NaN or infinity. Either weights are "
            "damaged, or numbers overflow their type (try --dtype fp32, dtype='fp32'); without "
            "patches (disable_patches, --off) you see whether the base or a patch is the cause"
        )
