"""Draws from a seed are those of PyTorch's one state, and no thread changes another one's.

The right values are what plain transformers answers after `torch.manual_seed`, and what each work
gives alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack

from helpers import tiny
from pave import PatchedModel
from pave.answer import Sampling
from pave.patches import LoraSpec
from pave.seeds import drawing_apart, seeded

SEEDS = [0, 7, -1, 2**64 - 1]
FILM = tiny.frames(4)


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(works: list[Callable[[], Any]], rounds: int = 6) -> list[list[Any]]:
    """What each work gives in each round, all of them at the same time."""
    start = Barrier(len(works))

    def repeat(work: Callable[[], Any]) -> list[Any]:
        start.wait()
        return [work() for _ in range(rounds)]

    with ThreadPoolExecutor(len(works)) as pool:
        return [job.result() for job in [pool.submit(repeat, work) for work in works]]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beams", [1, 3])
def test_as_after_manual_seed(seed: int, beams: int) -> None:
    base = tiny.base()
    options: dict[str, Any] = {"do_sample": True, "max_new_tokens": 8, "num_beams": beams}
    options |= {"num_return_sequences": beams, "pad_token_id": 0, "temperature": 1.5}
    inputs = tiny.inputs(base, (4, 4))
    torch.manual_seed(seed)
    wanted = base.model.generate(**inputs, **options)
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    with drawing_apart(base.model, seed):
        found = base.model.generate(**inputs, **options)
    assert torch.equal(found, wanted)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_two_models_in_two_threads() -> None:
    """Each answers with its seed's draws, and what draws without a seed is left alone, too."""
    models = [PatchedModel(tiny.base(seed=number)) for number in range(2)]

    def ask(number: int, seed: int) -> Callable[[], Any]:
        sampling = Sampling(8, temperature=1.5, n=3, seed=seed)
        return lambda: models[number].ask(FILM, "What?", sampling=sampling)

    def draw() -> list[float]:
        with seeded(5):
            return [float(torch.rand(1)) for _ in range(500)]

    works = [ask(0, 1), ask(0, 2), ask(1, 1), draw]
    alone = [work() for work in works]
    assert alone[0] != alone[1]
    for expected, found in zip(alone, together(works), strict=True):
        assert found == [expected] * len(found)


def test_draws_without_a_seed_are_not_disturbed() -> None:
    """A program's own state gives the same numbers whatever another thread answers meanwhile."""
    model = PatchedModel(tiny.base())
    sampling = Sampling(8, temperature=1.5, seed=1)

    def own() -> list[float]:
        torch.manual_seed(3)
        return [float(torch.rand(1)) for _ in range(2000)]

    wanted = own()
    found, _ = together([own, lambda: model.ask(FILM, "What?", sampling=sampling)])
    assert found == [wanted] * len(found)


def test_patches_that_are_made_at_once() -> None:
    def make(seed: int) -> Callable[[], Any]:
        def made() -> list[torch.Tensor]:
            model = PatchedModel(tiny.base())
            model.new_patch("audio", fusion={"hidden": 16}, lora=LoraSpec(rank=2), seed=seed)
            return [value.detach().clone() for value in model.trainable_parameters().values()]

        return made

    works = [make(1), make(2), make(3)]
    alone = [work() for work in works]
    for expected, found in zip(alone, together(works, rounds=4), strict=True):
        for values in found:
            assert all(map(torch.equal, values, expected))


class Broken(nn.Module):
    def forward(self) -> None:
        raise ValueError("no")


def test_an_error_on_the_way_leaves_nothing_behind() -> None:
    model = Broken()
    before = len(_get_current_function_mode_stack())
    with pytest.raises(ValueError, match="no"), drawing_apart(model, 0):
        model()
    assert len(_get_current_function_mode_stack()) == before
    assert not model._forward_hooks and not model._forward_pre_hooks
    with drawing_apart(model, None):  # the one state
        torch.manual_seed(4)
        wanted = torch.multinomial(torch.ones(100), 5)
    torch.manual_seed(4)
    assert torch.equal(torch.multinomial(torch.ones(100), 5), wanted)
