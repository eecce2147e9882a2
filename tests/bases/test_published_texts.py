"""Checkpoints of a known family with another language model inside: shapes as published, shrunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers import tiny
from pave.bases import Base, load_base, why_no_shared_prefix
from pave.testing import check_family
from pave.testing.tiny import spread_weights
from pave.testing.tiny_models import TEXT, TOWER

# OpenGVLab/InternVL3_5-*-HF: Qwen3 with a norm of queries and keys, and heads of their own width.
QWEN3 = {"model_type": "qwen3", **TEXT, "head_dim": 16, "attention_bias": False}
# The one of GPT-OSS: every other layer through a window, learnt sinks, experts in one tensor.
GPT_OSS = {
    "model_type": "gpt_oss",
    **TEXT,
    "head_dim": 16,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 150000.0},
}


def _internvl(text: dict[str, Any]) -> Base:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        vision_config={"image_size": 56, "patch_size": 14, **TOWER},
        text_config=text,
        image_token_id=tiny.token("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(config)
    spread_weights(model)
    return load_base(model, tiny.tokenizer())


def test_internvl_3_5() -> None:
    base = _internvl(QWEN3)
    assert type(base.inner.language_model).__name__ == "Qwen3Model"
    assert why_no_shared_prefix(base) is None
    check_family(base)


@pytest.mark.slow
def test_internvl_3_5_of_gpt_oss() -> None:
    base = _internvl(GPT_OSS)
    assert "sliding_attention" in str(why_no_shared_prefix(base))
    check_family(base)
