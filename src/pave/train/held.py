"""`AsTrained`: the frozen language model as it is held, and attends, while a patch trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pave.bases import Base
from pave.bases.masks import attention_of
from pave.cpu import frozen_in_bf16, frozen_through_onednn, lean_layers
from pave.train.attention import attend_with, packed_attention
from pave.train.config import TrainConfig


class AsTrained:
    """A context in which a base trains fast; within it, `paused` gives the base as it is used.

    Args:
        base: The base.
        config: Precision, and whether sequences are packed.
    """

    def __init__(self, base: Base, config: TrainConfig) -> None:
        self._base = base
        self._bf16 = config.precision == "bf16"
        self._packed = config.questions_per_video > 1
        self._used = attention_of(base)
        self._attention = contextlib.ExitStack()
        self._weights = contextlib.ExitStack()

    def __enter__(self) -> AsTrained:
        attention = packed_attention(self._base, self._packed, autocast=self._bf16)
        # Held first: the attention is tried on the weights as they will be.
        self._hold()
        self._attention.enter_context(attention)
        return self

    def __exit__(self, *error: object) -> None:
        self._attention.close()
        self._weights.close()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Outside of training for a while: weights in their own type, the base's own attention."""
        # Not by leaving the whole context: that an attention works is tried out only once.
        trained = attention_of(self._base)
        self._weights.close()
        if trained != self._used:
            attend_with(self._base, self._used)
        try:
            yield
        finally:
            if trained != self._used:
                attend_with(self._base, trained)
            self._hold()

    def _hold(self) -> None:
        language = getattr(self._base.inner, self._base.family.language_model)
        held = frozen_through_onednn(language)
        if self._bf16:
            held = frozen_in_bf16(language)
        self._weights.enter_context(held)
        # Last: a module is tried with the weights as they are held.
        self._weights.enter_context(lean_layers(language))
