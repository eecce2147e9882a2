"""Running a language model's head only where logits are needed.

A head over 150,000 words makes, at every position of a long visual prefix, more numbers than all
the rest of the model. Training needs logits in front of answer tokens, generation at the last
position. Some families take `logits_to_keep` for that, some take it and do nothing, so the rows are
picked in front of the head itself, which works on all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from pave.errors import BaseError


@contextlib.contextmanager
def head_at(model: Any, keep: Tensor | None = None) -> Iterator[None]:
    """For the time of the context the head sees a few positions only.

    Args:
        model: A Hugging Face model with output embeddings.
        keep: `[B, L]` bool, positions to compute logits at; these come as `[N, vocabulary]`, row by
            row. None: the last position of each row, as `[B, 1, vocabulary]`, for an answer.

    Raises:
        BaseError: From a call for an answer, if its logits hold a NaN or an infinity: the first
            such token would be the answer, again and again.
    """

    def pick(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden = args[0]  # [B, L, D]
        if keep is None:
            return (hidden[:, -1:],)
        return (hidden[keep],)  # [N, D]

    def judge(module: Any, args: tuple[Tensor, ...], logits: Tensor) -> None:
        if not logits.isfinite().all():  # [B, 1, vocabulary]: a thousandth of the head's own work
            raise BaseError(
                "the model gives no answer: its logits hold NaN or infinity; weights are damaged, "
                "or numbers grow too large for their type (try dtype='float32'); without patches "
                "(disable_patches, --off) you see whether the base or a patch is at fault"
            )

    head = model.get_output_embeddings()
    handles = [head.register_forward_pre_hook(pick)]
    if keep is None:  # in training the loss is looked at
        handles.append(head.register_forward_hook(judge))
    try:
        yield
    finally:  # a hook that stays would cut the logits of every later call
        for handle in handles:
            handle.remove()
