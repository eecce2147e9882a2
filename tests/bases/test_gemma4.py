"""Gemma 4: what only this family has: who sees whom, budgets of tokens, pixels in float32."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from helpers import tiny
from pave.bases import find_family, load_base
from pave.bases.families.gemma4 import fit
from pave.bases.settings import read_settings
from pave.errors import BaseError
from pave.train.attention import why_not


@pytest.fixture(scope="module")
def unified():
    return tiny.base("gemma4_unified")


def test_tokens_of_a_frame_see_each_other(unified):
    """The masks need to know which tokens are visual; the larger models were trained with them."""
    inputs = tiny.inputs(unified, (2, 2))
    visual = inputs["input_ids"] == unified.placeholder_id
    assert torch.equal(inputs["mm_token_type_ids"], visual.int() * 2)
    blind = {key: value for key, value in inputs.items() if key != "mm_token_type_ids"}
    with torch.no_grad():
        assert not torch.equal(unified.model(**inputs).logits, unified.model(**blind).logits)


def test_pixels_stay_in_float32():
    base = tiny.base("gemma4_unified")
    base.model.to(torch.bfloat16)
    clip = base.clip(tiny.frames(2))
    assert clip.pixels["pixel_values_videos"].dtype == torch.float32
    assert base.visual([clip])[0].tokens.dtype == torch.bfloat16


def test_flex_attention_is_refused_before_words_are_looked_for(unified):
    """A pass without ids compares every embedding with the whole vocabulary."""
    assert "sliding_attention" in why_not(unified, autocast=False)


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({"video_processor": {"max_soft_tokens": 140}, "image_processor": {}}, 140),
        ({"image_processor": {"max_soft_tokens": 280, "image_mean": [0.0, 0.0, 0.0]}}, 70),
    ],
    ids=["videos", "pictures"],
)
def test_the_budget_is_that_of_videos(files, tokens, tmp_path: Path, unified):
    (tmp_path / "processor_config.json").write_text(json.dumps(files))
    found = read_settings(str(tmp_path), unified.family.settings())
    assert found.max_video_tokens == tokens and found.std == (1, 1, 1)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((1080, 1920), (6, 11)),
        ((480, 480), (8, 8)),
        ((10, 3000), (1, 70)),
        ((3000, 10), (70, 1)),
        ((3000, 100), (45, 1)),
        ((680, 476), (9, 6)),  # 9.99 rows, by a rounding
    ],
)
def test_grids_within_the_budget(shape, grid):
    """By arithmetic: the largest whole sides whose ratio is the frame's, 70 tokens at most."""
    assert fit(*shape, token=48, most=70) == grid


def test_a_checkpoint_without_eyes_is_refused():
    config = SimpleNamespace(model_type="gemma4", vision_config=None)
    with pytest.raises(BaseError, match="has no vision tower"):
        find_family("gemma4")(config)


def test_a_placeholder_that_is_only_a_word_becomes_a_token(unified):
    """Gemma 4's tokenizer knows it as a word alone, which would be cut into pieces."""
    whole = tiny.tokenizer()
    inner = json.loads(whole.backend_tokenizer.to_str())
    words = {token["content"]: token["id"] for token in inner["added_tokens"]}
    inner["model"]["vocab"] |= words
    inner["added_tokens"] = [
        token for token in inner["added_tokens"] if token["content"] != "<|video|>"
    ]
    cut = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(inner)))
    cut.pad_token, cut.eos_token = whole.pad_token, whole.eos_token
    assert len(cut("<|video|>")["input_ids"]) > 1
    base = load_base(unified.model, cut, settings=unified.settings)
    clip = base.clip(tiny.frames(2))
    prefix = base.encode_prompt(clip.text, []).prefix
    assert prefix == unified.encode_prompt(clip.text, []).prefix
