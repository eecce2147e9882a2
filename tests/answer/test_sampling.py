"""Draws, beams, several answers, stop texts: those of plain transformers on the same inputs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

import pave
from helpers import tiny, tiny_patch
from pave.answer import Sampling
from pave.answer.streaming import stream
from pave.answer.thinking import opened_by, shown
from pave.errors import ConfigError, MediaError
from pave.model import PatchedModel

FILM = tiny.frames(4)
FAMILIES = ("llava_onevision", "qwen2_5_vl", "internvl", "smolvlm")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PatchedModel:
    """With an awake patch, which the comparisons switch off."""
    made = PatchedModel(tiny.base(request.param))
    tiny_patch.add(made)
    return made


@lru_cache
def untouched(family: str) -> Any:
    return tiny.base(family)


def inputs(base: Any, question: str = "What?") -> dict[str, Any]:
    """Pixels and a prompt, for plain `generate`."""
    clip = base.clip(FILM)
    prompt = base.encode_prompt(clip.text, [(question, None)])
    return base.batch([prompt.ask()], [clip], pad="left")


def plain(base: Any, seed: int | None = None, **options: Any) -> list[str]:
    """What a model of transformers answers that pave has never touched."""
    other = untouched(base.name.removeprefix("tiny-"))
    given = inputs(other)
    if seed is not None:
        torch.manual_seed(seed)
    ids = other.model.generate(
        **given, max_new_tokens=6, eos_token_id=other.stop_ids, pad_token_id=0, **options
    )
    texts = []
    for row in ids[:, given["input_ids"].shape[1] :].tolist():
        end = next((i for i, token in enumerate(row) if token in other.stop_ids), len(row))
        texts.append(other.decode(row[:end]))
    return texts


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {"do_sample": False}),
        (
            {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "n": 3, "seed": 3},
            {
                "do_sample": True,
                "temperature": 0.7,
                "top_p": 0.9,
                "top_k": 20,
                "num_return_sequences": 3,
                "seed": 3,
            },
        ),
        ({"beams": 3, "n": 2}, {"do_sample": False, "num_beams": 3, "num_return_sequences": 2}),
    ],
    ids=["greedy", "drawn", "beams"],
)
def test_answers_are_those_of_transformers(
    model: PatchedModel, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    state = torch.random.get_rng_state()
    with model.disable_patches():
        said = model.ask(FILM, "What?", sampling=Sampling(6, **ours))
    assert torch.equal(torch.random.get_rng_state(), state)
    wanted = plain(model.base, **theirs)
    assert ([said] if isinstance(said, str) else said) == wanted
    assert any(wanted)


def test_a_stream_is_the_answer_in_pieces(model: PatchedModel) -> None:
    base = model.base
    whole = plain(base, do_sample=False)[0]
    clip = base.clip(FILM)
    prompt = base.encode_prompt(clip.text, [("What?", None)])
    given: dict[str, Any] = base.batch([prompt.ask()], [clip], pad="left")
    with model.disable_patches():
        pieces = list(stream(model, given, Sampling(6), model.base.chat))
        assert "".join(pieces) == whole and all(pieces)
        # A stop text cuts both alike, and is never told in part.
        middle = len(whole) // 2
        stop = (whole[middle : middle + 2],)
        cut = model.ask(FILM, "What?", sampling=Sampling(6, stop=stop))
        assert cut == whole.partition(stop[0])[0].strip()
        assert "".join(stream(model, given, Sampling(6, stop=stop), model.base.chat)) == cut
        # Who stops taking pieces has the model back.
        taken = stream(model, given, Sampling(2000), model.base.chat)
        next(taken)
        taken.close()
        assert model.ask(FILM, "What?", max_new_tokens=6) == whole
    with pytest.raises(ConfigError, match="can be streamed"):
        stream(model, given, Sampling(beams=2), model.base.chat)


def test_failures_come_out_of_a_stream() -> None:
    made = PatchedModel(tiny.base())
    given: dict[str, Any] = inputs(made.base)
    with torch.no_grad():
        made.base.model.lm_head.weight[3] = float("nan")
    with pytest.raises(pave.BaseError, match="NaN"):
        list(stream(made, given, Sampling(4), made.base.chat))


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_k": -1}, {"top_k": 1.5}, {"n": 0}, {"n": 2}, {"beams": 0}, {"n": 3, "beams": 2},
        {"stop": "x"}, {"stop": ("",)}, {"stop": (3,)},
    ],
)  # fmt: skip
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Sampling(**wrong)


def test_several_answers_to_several_questions_are_refused(model: PatchedModel) -> None:
    with pytest.raises(ConfigError, match="one question at a time"):
        model.ask(FILM, ["a?", "b?"], sampling=Sampling(2, temperature=1.0, n=2))


def test_thinking_is_left_out_unless_it_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    text = "<think>A cat? No.</think>\n\nA dog."
    assert shown(text, Sampling(), "") == "A dog."
    assert shown(text, Sampling(thinking=True), "") == text
    # Begun by the prompt, and not finished.
    asked = "<|im_start|>assistant\n<think>\n"
    assert opened_by(asked) == "<think>"
    assert shown("A cat? No.</think> A dog.", Sampling(), asked) == "A dog."
    assert not caplog.records
    assert shown("A cat? Or", Sampling(9), asked) == ""
    assert "still thinking after 9 tokens" in caplog.text


def test_frames_are_asked_about_as_a_file_is(tmp_path: Any) -> None:
    made = PatchedModel(tiny.base())
    pixels = FILM.pixels
    last = pixels.permute(0, 2, 3, 1).numpy()
    said = made.ask(FILM, "What?", max_new_tokens=3)
    for clip in (
        pave.as_frames(pixels, fps=2),
        pave.as_frames(last, fps=2.0),
        pave.as_frames(last, times=[0.0, 0.5, 1.0, 1.5]),
    ):
        assert torch.equal(clip.pixels, pixels) and torch.equal(clip.times, FILM.times)
        assert made.ask(clip, "What?", max_new_tokens=3) == said
    # `frames` spreads its choice as over a file: linspace(0, 3, 2).
    ends = pave.as_frames(pixels[[0, 3]], times=[0.0, 1.5])
    assert made.ask(FILM, "What?", frames=2, max_new_tokens=3) == made.ask(
        ends, "What?", max_new_tokens=3
    )


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), {"fps": 2}),
        (np.zeros((4, 8, 8), np.uint8), {"fps": 2}),
        (np.zeros((4, 8, 8, 4), np.uint8), {"fps": 2}),
        (np.zeros((0, 8, 8, 3), np.uint8), {"fps": 2}),
        (np.zeros((4, 3, 8, 3), np.uint8), {"fps": 2}),
        (np.zeros((4, 8, 8, 3), np.uint8), {}),
        (np.zeros((4, 8, 8, 3), np.uint8), {"fps": 2, "times": [0, 1, 2, 3]}),
        (np.zeros((4, 8, 8, 3), np.uint8), {"fps": 0}),
        (np.zeros((4, 8, 8, 3), np.uint8), {"fps": float("nan")}),
        (np.zeros((4, 8, 8, 3), np.uint8), {"times": [0, 1]}),
        (np.zeros((4, 8, 8, 3), np.uint8), {"times": [0, 2, 1, 3]}),
        ([[0]], {"fps": 2}),
    ],
)
def test_arrays_that_are_no_frames(pixels: Any, options: dict[str, Any]) -> None:
    with pytest.raises(MediaError):
        pave.as_frames(pixels, **options)
