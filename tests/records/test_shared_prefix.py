"""Questions behind one prefix on every family: where they stand, and exactness."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import tiny
from pave.bases import Base, prefix_positions, why_no_shared_prefix
from pave.data import ClipFeatures, pack
from pave.train.batches import Sample
from pave.train.collate import Collator

MROPE = [name for name in tiny.FAMILIES if "qwen" in name or "glm" in name]
TEXT = st.text("ab ?", min_size=1, max_size=9)
DIALOGUES = st.lists(
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3), min_size=1, max_size=3
)


@cache
def _base(family: str) -> Base:
    return tiny.base(family)


def _samples(base: Base, drawn, frames) -> tuple[list[Sample], list[Sample]]:
    """Packed samples of several clips, and the same dialogues one a sequence."""
    packed, single = [], []
    for number, (dialogues, count) in enumerate(zip(drawn, frames, strict=True)):
        clip = base.clip(tiny.frames(count, seed=number))
        features = ClipFeatures(clip, base.visual([clip])[0])
        prompts = [base.encode_prompt(clip.text, turns) for turns in dialogues]
        packed.append(Sample(pack(prompts), features))
        single += [Sample(pack([prompt]), features) for prompt in prompts]
    return packed, single


def _hidden(base: Base, batch) -> torch.Tensor:
    """Last hidden states at the kept positions."""
    outputs = {base.family.modality: base.join(batch.visuals)}
    with torch.no_grad():
        states = base.inner(
            **batch.inputs, mm_encoder_outputs=outputs, use_cache=False
        ).last_hidden_state
    return states[batch.keep]


@pytest.mark.parametrize("family", tiny.SHARING)
@settings(max_examples=6)
@given(data=st.data())
def test_ragged_dialogues_behind_one_prefix_are_those_of_separate_sequences(family, data):
    base = _base(family)
    # Of 10 frames, times run past rows and columns: there the next position is not the largest plus
    # one.
    frames = data.draw(st.lists(st.sampled_from([2, 4, 10]), min_size=1, max_size=2))
    if family in tiny.ONE_LENGTH:
        frames = frames[:1] * len(frames)
    packed, single = _samples(base, [data.draw(DIALOGUES) for _ in frames], frames)
    together = _hidden(base, Collator(base, packed=True)(packed))
    collate = Collator(base, packed=False)
    apart = torch.cat([_hidden(base, collate([sample])) for sample in single])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", MROPE)
def test_a_question_starts_where_the_familys_own_rule_puts_it(family):
    base = tiny.base(family)
    clips = [base.clip(tiny.frames(count, seed=count)) for count in (12, 4)]
    asked = [base.encode_prompt(clip.text, [("What is it?", None)]) for clip in clips]
    longest = max(len(prompt.ask()) - len(prompt.prefix) for prompt in asked)
    found = prefix_positions(base, [prompt.prefix for prompt in asked], clips, longest)
    for clip, prompt, positions in zip(clips, asked, found, strict=True):
        inputs = base.batch([prompt.ask()], [clip])
        names = (
            "input_ids",
            "mm_token_type_ids",
            "video_grid_thw",
            "second_per_grid_ts",
            "second_per_grids",
            "attention_mask",
        )
        # The Omni models have two names for one thing.
        if "video_second_per_grid" in inputs:
            inputs["second_per_grids"] = inputs["video_second_per_grid"]
        whole = base.inner.get_rope_index(
            **{name: inputs[name] for name in names if name in inputs}
        )[0][:, 0]
        # To the bit, fractions too.
        assert torch.equal(positions[:, : whole.shape[1]], whole)
        assert positions.shape[1] == len(prompt.prefix) + longest
    assert base.model.model.rope_deltas is None  # asking for positions leaves no state behind


def test_families_with_one_axis_count_tokens():
    base = _base("smolvlm")
    clip = base.clip(tiny.frames(4))
    prefix = base.encode_prompt(clip.text, [("What?", None)]).prefix
    (positions,) = prefix_positions(base, [prefix], [clip])
    assert positions.tolist() == [list(range(len(prefix) + 1))]
    assert why_no_shared_prefix(base) is None
