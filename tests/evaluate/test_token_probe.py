"""Token probes on tokens whose content is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pave.evaluate.probe_examples import Example, prior
from pave.evaluate.probe_pooling import pool, pooled_clips
from pave.evaluate.token_probe import ProbeKind, probe
from pave.tokens import Tokens

Say = Callable[[int, int], str]


def _score(kind: ProbeKind, answer: Say, question: Callable[[int], str] = lambda _: "Q") -> float:
    """Share of right answers on clips whose tokens hold two bits in noise."""
    draws = torch.Generator().manual_seed(1)
    clips: dict[str, Tokens] = {}
    examples = []
    for number in range(300):
        one, two = torch.randint(0, 2, (2,), generator=draws).tolist()
        values = torch.randn(8, 1, 6, generator=draws) * 0.5
        values[:, :, 0] += 3 * one
        values[:, :, 1] += 3 * two
        clips[str(number)] = Tokens(values, torch.arange(8))
        asked = question(number)
        swap = asked == "other"
        text = answer(two, one) if swap else answer(one, two)
        examples.append(Example(str(number), asked, text))
    names = list(clips)
    train = {name: clips[name] for name in names[:200]}
    asked_clips = {name: clips[name] for name in names[200:]}
    pooled = pooled_clips(train, asked_clips)
    said = probe(kind, pooled, examples[:200], examples[200:])
    right = [text == example.answer for text, example in zip(said, examples[200:], strict=True)]
    return sum(right) / len(right)


def test_a_bit_is_found_by_both() -> None:
    for kind in ("linear", "mlp"):
        assert _score(kind, lambda one, _: "yes" if one else "no") >= 0.97


def test_an_exclusive_or_takes_a_hidden_layer() -> None:
    def either(one: int, two: int) -> str:
        return "yes" if one != two else "no"

    assert _score("linear", either) <= 0.65
    assert _score("mlp", either) >= 0.9


def test_the_question_says_which_bit() -> None:
    """As in "Can you hear a dog?": the same tokens, and the answer depends on what is asked."""

    def ask(number: int) -> str:
        return "other" if number % 2 else "one"

    for kind in ("linear", "mlp"):
        assert _score(kind, lambda one, _: "yes" if one else "no", ask) >= 0.9


def test_what_is_not_there_is_not_found() -> None:
    draws = torch.Generator().manual_seed(2)
    for kind in ("linear", "mlp"):

        def coin(*_: int) -> str:
            return str(int(torch.randint(0, 2, (), generator=draws)))

        assert 0.35 <= _score(kind, coin) <= 0.65


def test_pooling_keeps_time_and_place() -> None:
    values = torch.zeros(8, 4, 1)
    values[6:, 3] = 1.0  # the last quarter, the last place
    assert pool([Tokens(values, torch.arange(8))])[0].tolist() == [0.0] * 15 + [1.0, 1.0]
    # An 8 x 8 grid becomes 4 x 4: one cell of four is 1.
    grid = torch.zeros(4, 8, 8)
    grid[:, 0, 7] = 1.0
    found = pool([Tokens(grid.reshape(4, 64, 1), torch.arange(4))])[0]
    wanted: Tensor = torch.zeros(16, 4)
    wanted[3] = 0.25
    assert torch.equal(found, torch.cat([wanted.flatten(), torch.ones(1)]))
    # Clips that differ in places keep their mean.
    two = [Tokens(torch.ones(4, places, 2), torch.arange(4)) for places in (2, 3)]
    assert torch.equal(pool(two), torch.ones(2, 4 * 2 + 2))


def test_priors_by_hand() -> None:
    train = [Example(str(n), "Q", text) for n, text in enumerate(["b", "a", "b", "a", "c"])]
    assert prior(train, [Example("x", "Q"), Example("x", "new")]) == ["a", "a"]
    # One answer leaves nothing to learn.
    clips = {"0": Tokens(torch.ones(4, 1, 1), torch.arange(4))}
    pooled = pooled_clips(clips, {"x": clips["0"]})
    assert probe("mlp", pooled, [Example("0", "Q", "b")], [Example("x", "Q")]) == ["b"]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_seed_alone_draws(kind: ProbeKind) -> None:
    def either(one: int, two: int) -> str:
        return "yes" if one != two else "no"

    before = torch.random.get_rng_state()
    assert _score(kind, either) == _score(kind, either)
    assert torch.equal(torch.random.get_rng_state(), before)
