"""Answering several questions behind one prefix gives what asking them one by one gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers import asked as asked_about
from helpers import tiny, tiny_patch
from pave.answer import Questions, Sampling, generate, generation, questions_about
from pave.bases import Clip
from pave.data import ClipFeatures
from pave.errors import BaseError
from pave.model import PatchedModel


def _one_by_one(
    model: PatchedModel, clips: list[tuple[Clip, Questions]], limit: int
) -> list[list[list[int]]]:
    """The plain way: pixels, one full prompt, `generate`."""
    return [
        [_plain(model, clip, questions, asked, limit) for asked in questions.asked]
        for clip, questions in clips
    ]


def _plain(
    model: PatchedModel, clip: Clip, questions: Questions, asked: list[int], limit: int
) -> list[int]:
    stop = model.base.stop_ids
    inputs = model.base.batch([questions.prefix + asked], [clip], pad="left")
    settings = {"max_new_tokens": limit, "do_sample": False, "eos_token_id": stop}
    ids = model.generate(
        channels=[questions.features.channels], times=[clip.times], **inputs, **settings
    )
    said = ids[0, inputs["input_ids"].shape[1] :].tolist()
    return said[: next((place for place, token in enumerate(said) if token in stop), len(said))]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("patched", [True, False])
def test_batched_answers_are_those_of_single_questions(family: str, patched: bool) -> None:
    model = asked_about.model(family)
    model.set_patches({"p": 1.0} if patched else {})
    clips = asked_about.clips(model)
    questions = [asked for _, asked in clips]
    assert len({len(clip.prefix) for clip in questions}) > 1, (
        "different prefix lengths need padding, which this is about"
    )
    assert generate(model, questions, Sampling(6)) == _one_by_one(model, clips, 6)


def test_where_attention_forbids_a_shared_prefix_whole_prompts_are_batched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = asked_about.model("qwen2_vl")
    clips = [asked for _, asked in asked_about.clips(model)]
    shared = generate(model, clips, Sampling(6))
    monkeypatch.setattr(generation, "why_no_shared_prefix", lambda base: "its layers slide")
    heads = []
    model.model.lm_head.register_forward_hook(
        lambda module, args, output: heads.append(tuple(output.shape[:2]))
    )
    assert generate(model, clips, Sampling(6)) == shared
    assert set(heads) == {(6, 1)}


@pytest.mark.parametrize("family", tiny.UNSHARED)
def test_families_that_share_nothing_read_whole_prompts(family: str) -> None:
    """One batch, and its answers are those of single questions (the test above)."""
    model = asked_about.model(family)
    clips = [asked for _, asked in asked_about.clips(model)]
    layers = []
    model.base.inner.language_model.layers[0].register_forward_pre_hook(
        lambda module, args: layers.append(tuple(args[0].shape[:2]))
    )
    generate(model, clips, Sampling(3))
    longest = max(len(clip.prefix + asked) for clip in clips for asked in clip.asked)
    assert layers[0] == (6, longest)


@pytest.mark.parametrize("family", tiny.SHARING)
def test_the_prefix_is_read_once_a_clip_and_the_head_sees_last_positions_only(family: str) -> None:
    model = asked_about.model(family)
    clips = [asked for _, asked in asked_about.clips(model)]
    layers, heads = [], []
    language = getattr(model.base.inner, model.base.family.language_model)
    model.model.lm_head.register_forward_hook(
        lambda module, args, output: heads.append(tuple(output.shape))
    )
    language.layers[0].register_forward_pre_hook(
        lambda module, args: layers.append(tuple(args[0].shape[:2]))
    )
    generate(model, clips, Sampling(3))
    longest = max(len(clip.prefix) for clip in clips)
    questions = max(len(asked) for clip in clips for asked in clip.asked)
    assert layers[:2] == [(3, longest), (6, questions)]
    assert all(shape == (6, 1) for shape in layers[2:]) and len(layers) <= 4
    assert heads == [(rows, 1, tiny.VOCAB) for rows, _ in layers]


def test_patch_changes_only_the_clips_that_have_its_channel() -> None:
    model = asked_about.model()
    clips = [asked for _, asked in asked_about.clips(model)]
    with_patch = generate(model, clips, Sampling(6))
    with model.disable_patches():
        without = generate(model, clips, Sampling(6))
    assert with_patch[0] != without[0] and with_patch[2] != without[2]
    assert with_patch[1] == without[1]


def test_an_answer_ends_before_the_end_token() -> None:
    model = asked_about.model()
    clips = [asked for _, asked in asked_about.clips(model)]
    free = generate(model, clips, Sampling(4))
    end = free[0][0][2]
    model.base.model.generation_config.eos_token_id = end
    cut = free[0][0][: free[0][0].index(end)]
    assert generate(model, clips, Sampling(4))[0][0] == cut


@pytest.mark.parametrize(
    "says",
    [
        {"return_dict_in_generate": True, "output_logits": True},
        {"cache_implementation": "static"},
        {"prompt_lookup_num_tokens": 3},
        {"guidance_scale": 1.5},
        {"token_healing": True},
        {"use_cache": False},
    ],
    ids=lambda says: next(iter(says)),
)
def test_how_a_folder_says_that_generate_works_does_not_count(says: dict[str, Any]) -> None:
    """One question and several, which share a prefix."""
    model = asked_about.model()
    clips = [asked for _, asked in asked_about.clips(model)]
    several = generate(model, clips, Sampling(4))
    one = replace(clips[0], asked=clips[0].asked[:1])
    assert generate(model, [one], Sampling(4)) == [several[0][:1]]
    model.base.model.generation_config.update(**says)
    assert generate(model, clips, Sampling(4)) == several
    assert generate(model, [one], Sampling(4)) == [several[0][:1]]


@pytest.mark.parametrize("says", [{"repetition_penalty": 3.0}, {"stop_strings": ["WORD"]}])
def test_what_a_folder_says_of_the_next_token_counts(says: dict[str, Any]) -> None:
    model = asked_about.model()
    base = model.base
    clip, questions = asked_about.clips(model)[0]
    free = generate(model, [questions], Sampling(6))[0]
    if "stop_strings" in says:
        # The second token of the first answer.
        says = {"stop_strings": [base.tokenizer.decode(free[0][1:2])]}
    base.model.generation_config.update(**says)
    found = generate(model, [questions], Sampling(6))[0]
    assert found != free
    for asked, answer in zip(questions.asked, found, strict=True):
        inputs = base.batch([questions.prefix + asked], [clip], pad="left")
        ids = model.generate(
            channels=[questions.features.channels],
            times=[clip.times],
            **inputs,
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=base.stop_ids,
            tokenizer=base.tokenizer,
        )
        # Rows that end before others are filled; the text leaves that out.
        assert base.decode(answer) == base.decode(ids[0, inputs["input_ids"].shape[1] :])


def test_no_clips_no_answers() -> None:
    model = asked_about.model()
    assert generate(model, [], Sampling(4)) == []


@pytest.mark.parametrize("sampling", [Sampling(3), Sampling(3, temperature=1.0, seed=0)])
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["head", "layer"])
def test_logits_that_are_no_numbers_are_no_answer(
    sampling: Sampling, odd: float, where: str
) -> None:
    """One weight of the last part is enough; the first token of the vocabulary was the answer."""
    case = tiny_patch.case()
    layers = case.base.inner.language_model.layers
    part = case.base.model.lm_head if where == "head" else layers[-1].mlp.down_proj
    features = ClipFeatures(case.clips[0], case.visuals()[0], {})
    asked = questions_about(case.model, features, [[("Why?", None)], [("Who?", None)]])
    assert generate(case.model, [asked], sampling)
    with torch.no_grad():
        part.weight[3] = odd
    with pytest.raises(BaseError, match="logits hold NaN or infinity"):
        generate(case.model, [asked], sampling)
    assert not case.base.model.lm_head._forward_hooks  # nothing is left behind
