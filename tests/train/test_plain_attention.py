"""Mean keys and values of plain videos, and the distance of other tokens from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import tiny
from pave.model import PatchedModel
from pave.train.plain_attention import PlainAttention


def _clips(family: str, frames: tuple[int, ...] = (4, 4)):
    base = tiny.base(family)
    clips = [base.clip(tiny.frames(count, seed=seed)) for seed, count in enumerate(frames)]
    return PatchedModel(base), list(zip(clips, base.visual(clips), strict=True))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_video_is_no_way_from_itself(family: str) -> None:
    patched, videos = _clips(family)
    attention = patched.base.config.get_text_config()._attn_implementation
    plain = PlainAttention(patched)
    plain.learn(*videos[0])
    assert plain.layers >= 1
    assert plain.gap(*videos[0]) == 0
    assert plain.gap(*videos[1]) > 0
    assert patched.base.config.get_text_config()._attn_implementation == attention


def test_the_distance_by_hand() -> None:
    """Attention is linear in its values: twice the kept ones are 1/2 away, relative to them."""
    patched, videos = _clips("llava_onevision")
    plain = PlainAttention(patched)
    plain.learn(*videos[0])
    for layer in plain._layers:
        layer.values *= 2
    assert float(plain.gap(*videos[0])) == pytest.approx(0.5, abs=1e-5)
    # Two equal videos have the same mean as one.
    plain.learn(*videos[0])
    for layer in plain._layers:
        layer.values *= 2 / 3  # (2 + 1) / 2 of it
    assert float(plain.gap(*videos[0])) == pytest.approx(0, abs=1e-5)


def test_places_beyond_all_plain_videos_keep_their_own() -> None:
    """The first keys of a longer clip, and what its queries get from them, are those of before."""
    patched, videos = _clips("qwen2_vl", frames=(2, 6))
    short, long = videos
    plain = PlainAttention(patched)
    plain.learn(*short)
    counted = [len(layer.counts) for layer in plain._layers]
    assert float(plain.gap(*long)) > 0
    plain.learn(*long)
    grown = [len(layer.counts) for layer in plain._layers]
    assert all(after > before for after, before in zip(grown, counted, strict=True))
    for layer, before in zip(plain._layers, counted, strict=True):
        assert layer.counts[:before].eq(2).all() and layer.counts[before:].eq(1).all()


def test_gradients_reach_the_tokens() -> None:
    patched, videos = _clips("llava_onevision")
    plain = PlainAttention(patched)
    plain.learn(*videos[0])
    clip, visual = videos[1]
    tokens = visual.tokens.clone().requires_grad_()
    plain.gap(clip, replace(visual, tokens=tokens)).backward()
    assert torch.isfinite(tokens.grad).all() and tokens.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in patched.base.model.parameters())
