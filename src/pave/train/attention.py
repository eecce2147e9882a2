"""Which attention packed sequences train with: FlexAttention on a GPU, else the base's own.

With a mask PyTorch's fused attention still computes every pair of tokens, and the mask holds a byte
for each. FlexAttention is told the rule instead and skips the blocks in which nobody sees anybody:
one question and the next.

Whether it runs depends on the GPU, the compiler beside it, the base's heads and types. No list of
versions tells, so the language model itself is asked: a short packed sequence goes through it both
ways, forward and backward, and both must agree. On a CPU PyTorch has no backward pass for it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pave import hf_compat
from pave.bases import Base, why_no_shared_prefix
from pave.bases.masks import MASKED, attention_of
from pave.data.packing import visible, visible_blocks
from pave.seeds import seeded

FLEX = "flex_attention"
DEVICES = ("cuda",)  # those that it has a backward pass for
LENGTH = 192
# How far apart the two may be, of the largest number: in float32, and in 16-bit types, whose
# rounding adds up.
FINE, COARSE = 1e-4, 0.05

log = logging.getLogger(__name__)


def takes_rules(base: Base) -> bool:
    """Whether the attention that the base has can be told who sees whom, and trained."""
    attention = attention_of(base)
    return attention in MASKED or (attention == FLEX and base.device.type in DEVICES)


def attend_with(base: Base, name: str) -> None:
    """Let the language model attend so from now on."""
    hf_compat.set_attention_implementation(base.config.get_text_config(), name)


@contextlib.contextmanager
def packed_attention(base: Base, packed: bool, autocast: bool) -> Iterator[None]:
    """Train packed sequences with FlexAttention where it works; the base attends as before after.

    Args:
        base: What trains.
        packed: Whether sequences may hold several dialogues; with one each nothing changes.
        autocast: Whether training runs under bfloat16 autocast.
    """
    before = attention_of(base)
    try:
        if packed and base.device.type in DEVICES and before != FLEX:
            problem = why_not(base, autocast)
            if problem:
                log.info("packed sequences train with %s and a mask: %s", before, problem)
            else:
                attend_with(base, FLEX)
        yield
    finally:
        if attention_of(base) != before:
            attend_with(base, before)


def why_not(base: Base, autocast: bool) -> str:
    """Why this base cannot train with FlexAttention here; empty where it can.

    The base attends as before afterwards.
    """
    if refused := why_no_shared_prefix(base):
        return refused
    text, before = base.config.get_text_config(), attention_of(base)
    if getattr(text, "attention_dropout", 0.0):
        return "it has no attention dropout, which this base needs"
    language = getattr(base.inner, base.family.language_model)
    # 0...0 1...1 2...2: a prefix and two dialogues, [1, L]
    numbers = torch.arange(LENGTH, device=base.device)[None] * 3 // LENGTH
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(1, LENGTH, text.hidden_size, generator=generator) * 0.1
    embeds = embeds.to(base.device, base.dtype)
    try:
        with torch.autocast(base.device.type, torch.bfloat16, enabled=autocast):
            attend_with(base, "sdpa")
            expected = _pass(language, embeds, visible(numbers))
            attend_with(base, FLEX)
            got = _pass(language, embeds, visible_blocks(numbers))
    except Exception as error:  # whatever a compiler, a driver or a family says
        return f"{type(error).__name__}: {str(error).split('. ')[0]}"
    finally:
        attend_with(base, before)
    fine = base.dtype == torch.float32 and not autocast
    share = FINE if fine else COARSE
    apart = 0.0
    for ours, theirs in zip(got, expected, strict=True):
        farthest = (ours - theirs).abs().max()
        largest = theirs.abs().max()
        apart = max(apart, float(farthest / largest))
    if apart <= share:
        return ""
    return f"its numbers are {apart:.2g} of the largest away from sdpa's"


def _pass(language: Any, embeds: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
    """Hidden states and a gradient to the embeddings, `[1, L, hidden]` each, in float32."""
    embeds = embeds.clone().requires_grad_()
    # A LoRA's dropout is the same in both passes, and the run's own numbers are not used up.
    with seeded(0), torch.enable_grad():
        output = language(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
        hidden = output.last_hidden_state.float()
        towards = (
            embeds.detach().float().roll(1, 1)
        )  # any direction that is not the same everywhere
        (gradient,) = torch.autograd.grad(hidden, embeds, towards)
    return hidden.detach(), gradient.float()
