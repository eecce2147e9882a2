"""Promise 1: a fresh, disabled or channel-less patch is exactly the base, on every family."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from helpers import tiny, tiny_patch
from helpers.tiny_patch import Case

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
GREEDY: dict[str, Any] = {"max_new_tokens": 2, "do_sample": False}
BEAMS: dict[str, Any] = {**GREEDY, "num_beams": 2}
CASES = [f"{family}-{dtype}" for family in tiny.FAMILIES for dtype in DTYPES]


@dataclass
class Exact:
    """A case with one patch, and what the plain base generates for it."""

    case: Case
    greedy: torch.Tensor
    beams: torch.Tensor | None

    def generate(self, side: Any, options: Any = GREEDY) -> torch.Tensor:
        """Ids with the patch on."""
        result: torch.Tensor = self.case.model.generate(
            side, self.case.times, **self.case.inputs, **options
        )
        return result


@functools.cache
def exact(name: str) -> Exact:
    """Built once a process; tests leave the patch on and give it the weights they need."""
    family, dtype = name.split("-")
    made = tiny_patch.case(family, DTYPES[dtype])
    greedy = made.base.model.generate(**made.inputs, **GREEDY)
    beams = None
    if dtype == "fp32":
        with made.base.family.generating:  # GLM-4V's beams need it
            beams = made.base.model.generate(**made.inputs, **BEAMS)
    tiny_patch.add(made.model, awake=False)
    return Exact(made, greedy, beams)


@pytest.mark.parametrize("name", CASES)
def test_patch_is_exactly_the_base_or_audibly_not(name: str) -> None:
    it = exact(name)
    case, side = it.case, it.case.side
    if not it.case.awake:
        assert torch.equal(case.run(), case.logits)  # fresh
        assert torch.equal(it.generate(side), it.greedy)
        assert it.beams is None or torch.equal(it.generate(side, BEAMS), it.beams)
    case.wake()

    patched = case.run()
    assert patched.shape == case.logits.shape  # as many tokens as before
    assert bool((patched != case.logits).flatten(1).any(1).all())

    with case.model.disable_patches():
        assert torch.equal(case.run(), case.logits)
        assert torch.equal(it.generate(side), it.greedy)
        assert it.beams is None or torch.equal(it.generate(side, BEAMS), it.beams)
    assert torch.equal(case.run(), patched)

    for missing in (None, [{}, {}], [{"audio": tiny_patch.tokens(0)}, {}]):
        assert torch.equal(case.run(missing), case.logits)
    assert torch.equal(it.generate(None), it.greedy)
    assert it.beams is None or torch.equal(it.generate([{}, {}], BEAMS), it.beams)


@pytest.mark.parametrize("name", CASES)
def test_missing_channel_of_one_row_leaves_that_row_alone(name: str) -> None:
    it = exact(name)
    it.case.wake()
    mixed = it.case.run([it.case.side[0], {}])
    assert torch.equal(mixed[1], it.case.logits[1])
    assert torch.equal(mixed[0], it.case.run()[0])
    if it.beams is not None:
        assert torch.equal(it.generate([{}, it.case.side[1]], BEAMS)[0], it.beams[0])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_merged_patch_says_the_same_and_leaves_the_base_alone(family: str) -> None:
    case = exact(f"{family}-fp32").case
    case.wake()
    patched = case.run()
    case.model.merge()
    assert torch.allclose(case.run(), patched, atol=1e-4) and not torch.equal(case.run(), patched)
    assert torch.equal(case.run([case.side[0], {}])[1], case.logits[1])  # a row without the channel
    with case.model.disable_patches():
        assert torch.equal(case.run(), case.logits)
    case.model.unmerge()
    assert torch.equal(case.run(), patched)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_cached_visual_tokens_give_the_same_logits(family: str) -> None:
    case = exact(f"{family}-fp32").case
    case.wake()
    visuals = case.visuals()
    with torch.no_grad():
        cached = case.model(case.side, case.times, visuals, **case.light()).logits
        silent = case.model(None, None, visuals, **case.light()).logits
    assert torch.allclose(cached, case.run(), atol=1e-5)
    assert torch.allclose(silent, case.logits, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_token_count_never_changes(name: str) -> None:
    case = exact(name).case
    before = case.visuals()
    after = case.model.seam.fuse(before, case.side, case.times)
    assert [v.layout for v in after] == [v.layout for v in before]
    assert [v.tokens.shape for v in after] == [v.tokens.shape for v in before]
    assert [v.tokens.dtype for v in after] == [case.base.dtype] * 2
    placeholders = (case.inputs["input_ids"] == case.base.placeholder_id).sum(1).tolist()
    assert [v.layout.total for v in after] == placeholders


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_times_may_be_left_out(family: str) -> None:
    case = exact(f"{family}-fp32").case
    case.wake()
    with torch.no_grad():
        untimed = case.model(case.side, **case.inputs).logits
    assert untimed.shape == case.logits.shape
    assert not torch.equal(untimed, case.logits)
