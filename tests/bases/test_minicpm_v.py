"""MiniCPM-V: clips whose frames differ in size share one row of patches, in a batch too."""

from __future__ import annotations

import pytest
import torch

from helpers import tiny, tiny_patch
from pave.errors import BaseError
from pave.model import PatchedModel


@pytest.fixture(scope="module")
def base():
    return tiny.base("minicpmv4_7")


def _inputs(base):
    """Two clips, of 2 x 3 and of 2 x 4 tokens a frame, and the batch of both."""
    clips = [base.clip(tiny.frames(3)), base.clip(tiny.frames(2, 56, 112, seed=1))]
    asked = [base.encode_prompt(clip.text, [("What?", None)]).ask() for clip in clips]
    return clips, base.batch(asked, clips)


def test_clips_of_different_sizes_in_one_batch(base):
    clips, inputs = _inputs(base)
    arguments = {key: inputs[key] for key in clips[0].pixels}
    with torch.no_grad():
        output = base.inner.get_video_features(**arguments, return_dict=True)
    together = base.family.split(output, arguments, [3, 2], True)
    for clip, found in zip(clips, together, strict=True):
        (alone,) = base.visual([clip])
        assert found.layout == alone.layout
        torch.testing.assert_close(found.tokens, alone.tokens)
        torch.testing.assert_close(found.query, alone.query)
    with pytest.raises(BaseError, match="differ in size"):
        base.family.split(output, arguments, [4, 1], False)


def test_a_patch_finds_its_clip_in_the_row(base):
    """By the times of the clips; without them such a batch is refused, not guessed at."""
    clips, inputs = _inputs(base)
    with torch.no_grad():
        plain = base.model(**inputs).logits
    model = PatchedModel(base)
    tiny_patch.add(model, lora=None)
    side = [{}, {"audio": tiny_patch.tokens(4)}]
    try:
        with torch.no_grad():
            found = model(side, [clip.times for clip in clips], **inputs).logits
            with pytest.raises(BaseError, match="differ in size"):
                model(side, None, **inputs)
    finally:
        model.unpatch()
    assert torch.equal(found[0], plain[0]) and not torch.equal(found[1], plain[1])


def test_every_frame_has_a_canvas_of_its_own(base):
    """4.7: within a frame, rows and columns count from where the frame starts."""
    clip = base.clip(tiny.frames(2))  # 2 x 3 tokens a frame
    ids = base.encode_prompt(clip.text, [("?", None)]).ask()
    inputs = base.batch([ids], [clip])
    names = ("input_ids", "mm_token_type_ids", "attention_mask", "target_sizes_videos")
    places, _ = base.inner.get_rope_index(**{name: inputs[name] for name in names})
    visual = inputs["input_ids"][0] == base.placeholder_id
    for frame in places[:, 0, visual].split(6, dim=1):
        time, row, column = frame - frame[:, :1]
        assert time.tolist() == [0] * 6
        assert row.tolist() == [0, 0, 0, 1, 1, 1] and column.tolist() == [0, 1, 2] * 2
