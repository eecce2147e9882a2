"""Threads that ask one model at once never meet each other's side tokens, LoRAs or hooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny_patch
from helpers.tiny_patch import tokens
from pave.answer import Sampling
from pave.errors import PatchError
from pave.media import write_video
from pave.patches import LoraSpec

ROUNDS = 12


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(works: list[Callable[[], Any]], rounds: int = ROUNDS) -> list[list[Any]]:
    """What each work gives in each round, all of them at the same time."""
    start = Barrier(len(works))

    def repeat(work: Callable[[], Any]) -> list[Any]:
        start.wait()
        return [work() for _ in range(rounds)]

    with ThreadPoolExecutor(len(works)) as pool:
        return [job.result() for job in [pool.submit(repeat, work) for work in works]]


@pytest.mark.parametrize("family", ["llava_onevision", "internvl"])
def test_forward_with_other_side_tokens(family: str) -> None:
    """Pixels and visual tokens, with the channel, other tokens of it, in one row, without it."""
    case = tiny_patch.case(family)
    tiny_patch.add(case.model)
    visuals = case.visuals()
    other = [{"audio": tokens(7, seed=8)}, {"audio": tokens(2, seed=9)}]

    def cached(side: Any) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            with torch.no_grad():
                logits: torch.Tensor = case.model(side, case.times, visuals, **case.light()).logits
            return logits

        return run

    works = [
        lambda: case.run(case.side),
        lambda: case.run(other),
        lambda: case.run(None),
        lambda: case.run([case.side[0], {}]),
        cached(other),
        cached([{}, case.side[1]]),
    ]
    alone = [work() for work in works]
    assert not torch.equal(alone[0], alone[1]) and torch.equal(alone[2], case.logits)
    for expected, found in zip(alone, together(works), strict=True):
        assert all(torch.equal(logits, expected) for logits in found)


def test_a_plain_call_of_the_base_meets_no_side_tokens() -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model, lora=None)

    def plain() -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = case.base.model(**case.inputs).logits
        return logits

    _, found = together([case.run, plain])
    assert all(torch.equal(logits, case.logits) for logits in found)


@pytest.fixture
def films(tmp_path: Path) -> tuple[Path, Path]:
    """A film with sound and another one without."""
    rate = 16_000
    sound = np.sin(np.arange(rate) * 0.2).astype(np.float32)
    for seed, (name, heard) in enumerate((("loud", sound), ("silent", None))):
        rng = np.random.default_rng(seed)
        frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(10)]
        write_video(tmp_path / f"{name}.mp4", frames, 10, heard, rate)
    return tmp_path / "loud.mp4", tmp_path / "silent.mp4"


def test_questions_about_clips_with_and_without_the_channel(
    films: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR")  # the silent film is told of every time
    case = tiny_patch.case()
    model = case.model
    model.new_patch(
        "audio", fusion={"hidden": 16}, lora=LoraSpec(rank=2), prompt="Listen. {question}", seed=1
    )
    tiny_patch.wake(model, "audio")
    loud, silent = films
    draw = Sampling(6, temperature=2.0, seed=3)
    works: list[Callable[[], Any]] = [
        lambda: model.ask(loud, "What?", frames=4, max_new_tokens=6),
        lambda: model.ask(silent, "What?", frames=4, max_new_tokens=6),
        lambda: model.ask(loud, ["Who is it?", "Why?"], frames=3, max_new_tokens=6),
        lambda: model.ask(loud, "What?", frames=4, sampling=draw),
        lambda: case.run(None).tolist(),
    ]
    alone = [work() for work in works]
    assert alone[0] != alone[1] and alone[0] != alone[3]
    for expected, found in zip(alone, together(works, 6), strict=True):
        assert found == [expected] * 6


def test_asking_while_training_answers_without_dropout(films: tuple[Path, Path]) -> None:
    model = tiny_patch.case().model
    model.new_patch("audio", fusion={"hidden": 16, "dropout": 0.5}, lora=LoraSpec(rank=2), seed=1)
    tiny_patch.wake(model, "audio")
    ask = lambda: model.ask(films[0], "What?", frames=4, max_new_tokens=6)  # noqa: E731
    alone = ask()
    model.train()
    assert together([ask, ask], 4) == [[alone] * 4] * 2
    assert model.training


def test_each_base_has_threads_of_its_own() -> None:
    """Two models in two threads: neither waits for the other, nor sees its call."""
    cases = [tiny_patch.case(), tiny_patch.case("qwen2_vl")]
    for case in cases:
        tiny_patch.add(case.model)
    alone = [case.run() for case in cases]
    cases[0].model.lock.acquire()
    try:
        found = together([cases[1].run], 2)[0]
    finally:
        cases[0].model.lock.release()
    assert all(torch.equal(logits, alone[1]) for logits in found)


CHOICES: list[dict[str, float]] = [
    {},
    {"audio": 1.0},
    {"views": 1.0},
    {"audio": 1.0, "views": 1.0},
    {"audio": 0.5, "views": -0.25},
    {"lora": 2.0},
]


@pytest.mark.parametrize("family", ["llava_onevision", "smolvlm"])
@pytest.mark.parametrize("cached", [False, True])
def test_each_call_with_patches_of_its_own(family: str, cached: bool) -> None:
    """What `set_patches` gives one after the other, at once; and the model's own patches stay."""
    case = tiny_patch.case(family)
    model = case.model
    tiny_patch.add(model, "audio")
    tiny_patch.add(model, "views", seed=2)
    tiny_patch.add(model, None, name="lora", seed=3)
    side = [{"audio": tokens(5), "views": tokens(4, seed=1)}, {"audio": tokens(3, seed=2)}]
    visuals = case.visuals()

    def run(**options: Any) -> torch.Tensor:
        inputs, seen = (case.light(), visuals) if cached else (case.inputs, None)
        with torch.no_grad():
            logits: torch.Tensor = model(side, case.times, seen, **inputs, **options).logits
        return logits

    own = {"audio": 0.75, "lora": 1.0}
    alone = []
    for weights in [*CHOICES, own]:
        model.set_patches(weights)
        alone.append(run())
    assert len({logits.sum().item() for logits in alone}) == len(alone)
    if not cached:
        assert torch.equal(alone[0], case.logits)
    works: list[Callable[[], Any]] = [lambda w=weights: run(patches=w) for weights in CHOICES]
    works.append(run)  # with the model's own
    for expected, found in zip(alone, together(works, 6), strict=True):
        assert all(torch.equal(logits, expected) for logits in found)
    assert {name: patch.weight for name, patch in model.patches.items()} == {"views": 0.0, **own}


def test_each_question_with_patches_of_its_own(
    films: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Prompts, encoders, fusions and LoRAs are those of the patches asked for."""
    caplog.set_level("ERROR")
    model = tiny_patch.case().model
    for seed, (name, prompt) in enumerate((("a", "Listen. {question}"), ("b", "{question} Hm?"))):
        fusion = {"hidden": 16}
        model.new_patch(
            "audio", name=name, fusion=fusion, lora=LoraSpec(rank=2), prompt=prompt, seed=seed
        )
        tiny_patch.wake(model, name, seed + 1)
    model.new_patch(None, name="c", lora=LoraSpec(rank=2), seed=3)
    tiny_patch.wake(model, "c", 5)
    choices: list[dict[str, float]] = [{}, {"a": 1.0}, {"b": 1.0}, {"a": 0.5, "b": 1.0}, {"c": 1.0}]
    ask = lambda **more: model.ask(films[0], ["What?", "Who?"], frames=4, max_new_tokens=6, **more)  # noqa: E731
    alone = []
    for weights in choices:
        model.set_patches(weights)
        alone.append(ask())
    assert len(set(map(tuple, alone))) == len(alone)
    model.set_patches({"a": 1.0})
    works: list[Callable[[], Any]] = [lambda w=weights: ask(patches=w) for weights in choices]
    for expected, found in zip(alone, together(works, 4), strict=True):
        assert found == [expected] * 4
    assert ask() == alone[1]


def test_another_thread_that_switches_patches_waits_for_answers(films: tuple[Path, Path]) -> None:
    """Calls with patches of their own are what they were, while others switch the model's."""
    model = tiny_patch.case().model
    for seed, name in enumerate(("a", "b")):
        model.new_patch("audio", name=name, fusion={"hidden": 16}, lora=LoraSpec(rank=2), seed=seed)
        tiny_patch.wake(model, name, seed + 1)
    choices: list[dict[str, float]] = [{}, {"a": 1.0}, {"a": 0.5, "b": 1.0}]
    talk = [{"role": "user", "content": [{"type": "video", "video": films[0], "frames": 4},
                                         {"type": "text", "text": "What?"}]}]  # fmt: skip
    draw = Sampling(8)
    works: list[Callable[[], Any]] = []
    for weights in choices:
        works.append(lambda w=weights: model.ask(films[0], "What?", frames=4, patches=w))
        works.append(
            lambda w=weights: "".join(model.chat(talk, stream=True, sampling=draw, patches=w))
        )
    alone = [work() for work in works]
    assert len(set(alone)) > 2

    def switch() -> None:
        model.set_patches({"b": 2.0})
        model.set_trainable("a", False)
        with model.disable_patches():
            pass
        model.delete_patch(model.new_patch(None, name="c", lora=LoraSpec(rank=2), seed=4))
        model.set_patches({})
        model.merge()
        model.unmerge()

    *found, _ = together([*works, switch], 4)
    for expected, answers in zip(alone, found, strict=True):
        assert answers == [expected] * 4


def test_an_answer_stays_with_the_patches_that_it_began_with(films: tuple[Path, Path]) -> None:
    """`ask` encodes, and then generates: it is switched in between."""
    model = tiny_patch.case().model
    model.new_patch("audio", name="a", fusion={"hidden": 16}, lora=LoraSpec(rank=2), seed=1)
    tiny_patch.wake(model, "a")
    alone = model.ask(films[0], "What?", frames=4, max_new_tokens=6)
    own = model.base.visual

    def visual(*args: Any, **kwargs: Any) -> Any:
        model.set_patches({})
        return own(*args, **kwargs)

    model.base.visual = visual  # type: ignore[method-assign]
    assert model.ask(films[0], "What?", frames=4, max_new_tokens=6) == alone


def test_a_continued_lora_makes_way_in_a_call_of_its_own() -> None:
    """A patch on top takes its base patch's place only where it is chosen."""
    case = tiny_patch.case()
    tiny_patch.add(case.model, "audio")
    tiny_patch.add(
        case.model, "audio", name="top", lora=None, base_patches=["audio"], continue_lora="audio"
    )
    alone = []
    choices: list[dict[str, float]] = [{"audio": 1}, {"top": 1}, {"audio": 1, "top": 1}]
    for weights in choices:
        case.model.set_patches(weights)
        alone.append(case.run())
    case.model.set_patches({})
    for weights, expected in zip(choices, alone, strict=True):
        assert torch.equal(case.run(patches=weights), expected)
    assert torch.equal(case.run(), case.logits)


def test_wrong_choices_are_refused_and_leave_nothing() -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    with pytest.raises(PatchError, match="no patch 'sound'"):
        case.run(patches={"sound": 1.0})
    with pytest.raises(PatchError, match="finite number"):
        case.run(patches={"audio": float("nan")})
    case.model.train()
    with pytest.raises(PatchError, match="for answers"):
        case.run(patches={"audio": 1.0})
