"""`check_base` passes on all of pave's families and names what is wrong with a spoilt base."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers import tiny
from pave.bases import Base
from pave.testing import Check, check_base


def _rows(base: Base) -> dict[str, Check]:
    return {row.name: row for row in check_base(base)}


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_pave_s_own_families_pass(family: str) -> None:
    base = tiny.base(family)
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    wrong = {name: row.found for name, row in _rows(base).items() if row.passed is not True}
    assert wrong == {}
    # The base is the caller's: nothing on it, nothing in it changed.
    after = base.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not any(weight.requires_grad for weight in base.model.parameters())


def _nan_in_the_head(base: Base) -> None:
    with torch.no_grad():
        base.model.get_output_embeddings().weight[0, 0] = float("nan")


def _a_token_too_few(base: Base) -> None:
    split = base.family.split

    def short(*words: Any) -> Any:
        return [replace(visual, tokens=visual.tokens[:-1]) for visual in split(*words)]

    base.family.split = short  # type: ignore[method-assign]


def _small_context(base: Base) -> None:
    base.context = 30.0


def _rounded_head(base: Base) -> None:
    """A fresh patch must not even round: here whatever follows a change of the model does."""
    head = base.model.get_output_embeddings()
    calls = []

    def drift(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return output + 1e-3 * len(calls)

    head.register_forward_hook(drift)


@pytest.mark.parametrize(
    ("spoil", "name", "said"),
    [
        (_nan_in_the_head, "logits", "logits are not finite"),
        (_a_token_too_few, "visual tokens", "the tower gave 16 tokens, the layout has 17"),
        (_small_context, "chat format", "ConfigError: .* longer than the 30"),
        (_rounded_head, "fresh patch", "a fresh patch moves a logit by 0.0"),
    ],
)
def test_what_is_wrong_is_named_and_the_others_go_on(
    spoil: Callable[[Base], None], name: str, said: str
) -> None:
    base = tiny.base()
    spoil(base)
    rows = _rows(base)
    assert rows[name].passed is False
    assert re.search(said, rows[name].found)
    assert len(rows) == len(_rows(tiny.base()))
    assert rows["loads"].passed
