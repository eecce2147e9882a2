"""Rows behind prefixes: what is added goes into free places, and what was read stays as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers import asked as asked_about
from pave.answer.generation import answering
from pave.answer.prefixes import _SPARE, behind_prefixes, read_prefixes


def test_a_cache_holds_what_joining_tokens_would_hold() -> None:
    """Over more tokens than there is room for at first."""
    model = asked_about.model()
    clips = [asked for _, asked in asked_about.clips(model)]
    with torch.no_grad(), answering(model):
        prefixes = read_prefixes(model, clips)
    assert [prefix.keys[0].shape[1] for prefix in prefixes] == [len(clip.prefix) for clip in clips]
    before = [prefix.keys[0].clone() for prefix in prefixes]
    cache = behind_prefixes(model.base, clips, prefixes)["past_key_values"]
    longest = max(len(clip.prefix) for clip in clips)
    rows = sum(len(clip.asked) for clip in clips)
    joined = cache.layers[0].keys.clone()  # [rows, heads, longest, width]
    assert joined.shape[0] == rows and joined.shape[2] == longest
    generator = torch.Generator().manual_seed(0)
    places = set()  # addresses: a new one is a copy of all rows
    for _ in range(_SPARE * 2):
        new: Tensor = torch.randn(rows, joined.shape[1], 1, joined.shape[3], generator=generator)
        keys, values = cache.update(new, -new, 0)
        joined = torch.cat([joined, new], dim=2)
        assert torch.equal(keys, joined)
        assert torch.equal(values[:, :, longest:], -joined[:, :, longest:])
        assert cache.get_seq_length() == joined.shape[2]
        places.add(keys.data_ptr())
    assert len(places) <= 3
    # They are for the next questions, too.
    for prefix, keys in zip(prefixes, before, strict=True):
        assert torch.equal(prefix.keys[0], keys)
