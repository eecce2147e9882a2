"""Questions of a clip in one row of the language model give what each gives by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers import asked as asked_about
from helpers import tiny
from pave.answer import Questions, Sampling, generate
from pave.answer.packed import visible
from pave.model import PatchedModel


def with_sound(model: PatchedModel, more: int) -> list[Questions]:
    """Two clips with sound, of different lengths, and further questions about the first."""
    (_, first), _, (_, last) = asked_about.clips(model)
    return [replace(first, asked=[*first.asked, *last.asked[:more]]), last]


def alone(model: PatchedModel, clip: Questions, limit: int) -> list[list[int]]:
    """Each question in a call of its own, which shares with nobody."""
    found = []
    for asked in clip.asked:
        ((answer,),) = generate(model, [replace(clip, asked=[asked])], Sampling(limit))
        found.append(answer)
    return found


def passes(model: PatchedModel) -> list[tuple[int, int]]:
    """Rows and tokens of what the language model will read."""
    seen: list[tuple[int, int]] = []
    language = getattr(model.base.inner, model.base.family.language_model)

    def note(module: Any, args: Any, named: Any) -> None:
        hidden = args[0] if args else named["hidden_states"]
        seen.append(tuple(hidden.shape[:2]))

    language.layers[0].register_forward_pre_hook(note, with_kwargs=True)
    return seen


@pytest.mark.parametrize("family", tiny.SHARING)
def test_answers_are_those_of_single_questions(family: str) -> None:
    model = asked_about.model(family)
    clips = with_sound(model, 1)
    wanted = [alone(model, clip, 6) for clip in clips]
    seen = passes(model)
    assert generate(model, clips, Sampling(6)) == wanted
    # A row a clip: the prefixes, then the questions side by side, then a token of each.
    longest = max(len(clip.prefix) for clip in clips)
    questions = max(sum(map(len, clip.asked)) for clip in clips)
    assert seen[:3] == [(2, longest), (2, questions), (2, 3)]
    del seen[:]
    assert generate(model, clips[:1], Sampling(6)) == wanted[:1]
    assert seen[0] == (1, len(clips[0].prefix))
    assert seen[1] == (1, sum(map(len, clips[0].asked)))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_row_that_has_ended_is_left_out(attention: str) -> None:
    model = asked_about.model()
    model.base.inner.language_model.set_attn_implementation(attention)
    (clip, _) = with_sound(model, 1)
    free = generate(model, [clip], Sampling(8))[0]
    # A token that one answer begins with, and another has later or not at all.
    end = free[0][0]
    assert [ids for ids in free if ids[0] != end]
    model.base.model.generation_config.eos_token_id = end
    wanted = [ids[: ids.index(end)] if end in ids else ids for ids in free]
    seen = passes(model)
    assert generate(model, [clip], Sampling(8)) == [wanted]
    left = [sum(len(ids) > step for ids in wanted) for step in range(7)]
    assert [tokens for _, tokens in seen[2:]] == [count for count in left if count]


def test_what_would_be_mostly_padding_gets_rows_of_its_own() -> None:
    model = asked_about.model()
    many, last = with_sound(model, 3)
    few = replace(last, asked=last.asked[:1])
    wanted = [alone(model, clip, 4) for clip in (many, few)]
    seen = passes(model)
    assert generate(model, [many, few], Sampling(4)) == wanted
    assert seen[1] == (6, max(map(len, many.asked)))


def test_clips_with_and_without_the_channel_get_rows_of_their_own() -> None:
    model = asked_about.model()
    clips = [asked for _, asked in asked_about.clips(model)]
    seen = passes(model)
    generate(model, clips, Sampling(3))
    assert seen[1][0] == 6


def test_padding_is_seen_by_nobody() -> None:
    keys = torch.tensor([[-1, 0, 1, 2, 2, -1]])
    seen = visible(keys, keys[:, 2:])[0, 0].int().tolist()
    assert seen == [
        [0, 1, 1, 0, 0, 0],
        [0, 1, 0, 1, 0, 0],
        [0, 1, 0, 1, 1, 0],
        [0, 1, 0, 0, 0, 0],
    ]
