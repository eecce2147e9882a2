"""Peak memory of a training step: logits at the answer's positions only, or everywhere.

One clip of 4 frames (785 visual tokens), a question and an answer of 8 tokens, a vocabulary of
150,000 words, a language model of hidden size 32, so that what is left is the head. A step is
forward, loss and backward into a LoRA. Memory is what the kernel says the process's resident set
rose by at its highest, after all freed memory was given back; both losses must agree.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from harness import Pair, Row, peak_growth
from thin import VIDEO, thin_base
from torch import Tensor, nn
from torch.nn import functional as F

from pave.bases.visual import Layout, Visual
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train.batch import TrainBatch
from pave.train.objective import AnswerModel

FRAMES, CELLS, WORDS, HIDDEN, QUESTION, ANSWER, REPEATS = 4, 196, 150_000, 32, 20, 8, 3


def steps() -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """A step of ours and a step with all logits; both return the loss."""
    torch.manual_seed(0)
    base = thin_base(HIDDEN, WORDS, query=64)
    patched = PatchedModel(base)
    patched.new_patch(None, lora=LoraSpec(rank=4), seed=0)
    model = AnswerModel(patched)
    visual = Visual(torch.randn(FRAMES * CELLS + 1, HIDDEN), Layout(FRAMES, 14, 14, trail=1))
    words = torch.randint(10, WORDS, (QUESTION + ANSWER,))
    ids = torch.cat([torch.full((visual.layout.total,), VIDEO), words])[None]
    keep = torch.zeros_like(ids, dtype=torch.bool)
    keep[0, -ANSWER - 1 : -1] = True
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    tokens = {"visuals": [visual], "channels": [{}], "times": [torch.arange(FRAMES) / 1.0]}

    def ours() -> Tensor:
        batch = TrainBatch(inputs, keep, words[-ANSWER:], **tokens)
        loss: Tensor = model(batch)["loss"]
        loss.backward()
        return loss.detach()

    def everywhere() -> Tensor:
        logits = patched(**inputs, **tokens, use_cache=False).logits
        labels = torch.where(keep.roll(1, 1), ids, -100)
        loss = F.cross_entropy(logits[0, :-1].float(), labels[0, 1:])
        loss.backward()
        return loss.detach()

    return _clean(ours, model), _clean(everywhere, model)


def _clean(step: Callable[[], Tensor], model: nn.Module) -> Callable[[], Tensor]:
    def run() -> Tensor:
        model.zero_grad()
        return step()

    return run


def megabytes(run: Callable[[], Tensor]) -> float:
    """Peak growth of one step."""
    with peak_growth() as peak:
        run()
        return peak()


def measure() -> list[Row]:
    """One row."""
    ours, everywhere = steps()
    torch.testing.assert_close(ours(), everywhere())
    both = [(megabytes(ours), megabytes(everywhere)) for _ in range(REPEATS)]
    pair = Pair(
        statistics.median(a for a, _ in both), statistics.median(b for _, b in both), REPEATS
    )
    return [
        Row.gain(
            "memory of a training step, answer-only logits against all",
            pair,
            "MB",
            note="vocabulary 150,000",
        )
    ]
