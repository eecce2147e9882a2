"""Talks in the manner of published templates answer as plain transformers, the patch switched off.

`test_chat.py` has the four formats written out by hand. Here the prompt is transformers' own
rendering of the talk, with each clip's text in the place of its mark, and the clips' pixels go to
the model's own `generate`.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Any

import pytest
import torch

from helpers import tiny, tiny_patch
from helpers.templates import MANNERS
from pave.answer import Sampling
from pave.bases import Base, load_base
from pave.media import Frames
from pave.model import PatchedModel

FILMS = (tiny.frames(4), tiny.frames(4, seed=1))
NEW = 6
Options = dict[str, Any]
# Ours, and theirs.
WAYS: dict[str, tuple[Options, Options]] = {
    "greedy": ({}, {"do_sample": False}),
    "drawn": (
        {"temperature": 0.8, "top_p": 0.9, "top_k": 12, "n": 2, "seed": 5},
        {
            "do_sample": True,
            "temperature": 0.8,
            "top_p": 0.9,
            "top_k": 12,
            "num_return_sequences": 2,
        },
    ),
    "beams": ({"beams": 2}, {"do_sample": False, "num_beams": 2}),
}


def _misses(family: str, way: str, talk: str) -> bool:
    """Whether transformers itself gives beams and further answers other clips than their own.

    It loses GLM's clips, and repeats each of PerceptionLM's where it should repeat all of a talk.
    pave's are right (`test_bases_families.py`, `test_perception_lm.py`).
    """
    if way == "greedy":
        return False
    return (family == "glm4v" and talk != "text") or (family == "perception_lm" and "clip" in talk)


def _user(*parts: Any) -> dict[str, Any]:
    """A user's message of films and texts, as pave takes it."""
    content = []
    for part in parts:
        if isinstance(part, Frames):
            content.append({"type": "video", "video": part})
        else:
            content.append({"type": "text", "text": part})
    return {"role": "user", "content": content}


ANSWER = {"role": "assistant", "content": [{"type": "text", "text": "A dog."}]}
TALKS = {
    "one": [_user(FILMS[0], "What?")],
    "two clips": [_user(*FILMS, "Which is louder?")],
    "a later clip": [_user(FILMS[0], "What?"), ANSWER, _user(FILMS[1], "And here?")],
    "text": [_user("Hello?"), ANSWER, _user("Why?")],
}


def _written(base: Base, talk: list[dict[str, Any]]) -> tuple[list[int], list[Frames]]:
    """Ids of transformers' rendering, and the films in it."""
    films = []
    for message in talk:
        films += [part["video"] for part in message["content"] if part["type"] == "video"]
    said = talk
    text = base.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    if "'type'" in text:  # GLM-4.1V's takes answers for texts
        said = [{**turn, "content": "A dog."} if turn is ANSWER else turn for turn in talk]
        text = base.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    clips = iter([base.clip(film).text for film in films])
    mark = re.escape(base.family.video_text or base.family.placeholder)
    text = re.sub(mark, lambda _: next(clips), text)
    return base.tokenizer(text)["input_ids"], films


def _plain(base: Base, talk: list[dict[str, Any]], options: Options, seed: int | None) -> list[str]:
    """What the model answers to pixels and ids, without pave."""
    ids, films = _written(base, talk)
    inputs: Options = base.batch([ids])
    clips = [base.clip(film) for film in films]
    for key in clips[0].pixels if clips else ():
        inputs[key] = torch.cat([clip.pixels[key] for clip in clips])
    if seed is not None:
        torch.manual_seed(seed)
    stop = base.stop_ids
    out = base.model.generate(
        **inputs, max_new_tokens=NEW, eos_token_id=stop, pad_token_id=0, **options
    )
    answers = []
    for row in out[:, len(ids) :].tolist():
        own = takewhile(lambda token: token not in stop, row)
        answers.append(base.decode(list(own)))
    return answers


def _base(manner: str) -> Base:
    family, template = MANNERS[manner]
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    made = tiny.base(family)
    return load_base(made.model, tokenizer, settings=made.settings)


@pytest.mark.slow
@pytest.mark.parametrize("manner", MANNERS)
def test_talks_are_answered_as_by_transformers(manner: str) -> None:
    model = PatchedModel(_base(manner))
    tiny_patch.add(model)
    other = _base(manner)  # never touched
    for name, talk in TALKS.items():
        for way, (ours, theirs) in WAYS.items():
            if _misses(other.family.name, way, name):
                continue
            sampling = Sampling(NEW, thinking=True, **ours)
            with model.disable_patches(), torch.random.fork_rng():
                said = model.chat(talk, sampling=sampling)
                wanted = _plain(other, talk, theirs, sampling.seed)
            assert ([said] if isinstance(said, str) else said) == wanted
        with model.disable_patches():
            pieces = "".join(model.chat(talk, sampling=Sampling(NEW, thinking=True), stream=True))
        assert pieces == _plain(other, talk, {"do_sample": False}, None)[0]
    # Several questions about one film at a time.
    questions = ["What?", "Why is that?"]
    with model.disable_patches():
        answers = model.ask(FILMS[0], questions, sampling=Sampling(NEW, thinking=True))
    for question, answer in zip(questions, answers, strict=True):
        talk = [_user(FILMS[0], question)]
        assert [answer] == _plain(other, talk, {"do_sample": False}, None)
