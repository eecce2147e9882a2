"""What a base's language model attends with, and a mask of its own as that attention takes it.

transformers makes a mask from the padding of each row. Whoever packs several questions into a row
has another one, of who sees whom, and hands it over in four dimensions: it is then taken as it is,
in the form that the kind of attention reads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pave import hf_compat
from pave.bases.base import Base

# FlashAttention knows padding and causal masks alone; FlexAttention takes a rule.
MASKED = ("sdpa", "eager")
"""Kinds of attention that can be told, for each token, which others it sees."""


def attention_of(base: Base) -> str:
    """What the base's language model attends with, as Hugging Face names it.

    Example:
        >>> attention_of(base)  # doctest: +SKIP
        'sdpa'
    """
    return hf_compat.attention_implementation(base.config.get_text_config())


def as_mask(base: Base, visible: Tensor) -> Tensor:
    """A mask of who sees whom, as the base's attention takes it.

    Args:
        base: Its attention is one of `MASKED`.
        visible: `[B, 1, L, K]` bool, True where a token sees a key.

    Returns:
        `[B, 1, L, K]`: the same, or what is added to scores, in the base's type.
    """
    # PyTorch's fused attention reads booleans.
    if attention_of(base) == "sdpa":
        return visible
    # Eager attention adds the mask to the scores, so it needs numbers.
    zeros = torch.zeros(visible.shape, dtype=base.dtype, device=visible.device)
    # The least number, not minus infinity: a row without any key would be NaN.
    return zeros.masked_fill_(~visible, torch.finfo(base.dtype).min)
