"""Greedy answers to several questions about one clip, paying for the clip's long prefix once.

A clip costs hundreds of tokens and a question about twenty. So the prefix goes through the language
model once per clip, its keys and values are copied for each question about it, and `generate` goes
on from there. Padding sits between prefix and question, masked out, and every question stands where
it would stand alone, so the result is that of asking one question at a time (a test compares them
on every family). Visual and side tokens serve all arms of a comparison; keys and values cannot,
because base, LoRA-only and patch have different weights.

Where the attention forbids a shared prefix (`pave.bases.shares_prefix`), questions go through plain
`generate` in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases import Base, prefix_positions, shares_prefix
from pave.bases.head import head_at
from pave.data import ClipFeatures


@dataclass(frozen=True)
class Questions:
    """One clip and what is asked about it.

    Attributes:
        features: The clip's cached features.
        prefix: Ids of everything before a question.
        asked: Ids of each question (and the dialogue before it, if any).
    """

    features: ClipFeatures
    prefix: list[int]
    asked: list[list[int]]


@torch.no_grad()
def answer(
    model: Any, base: Base, clips: Sequence[Questions], max_new_tokens: int
) -> list[list[list[int]]]:
    """Answer every question of every clip greedily.

    Args:
        model: A `PatchedModel` with the wanted patches active.
        base: Its base.
        clips: Clips with at least one question each.
        max_new_tokens: Longest answer.

    Returns:
        For each clip, for each question, the new token ids without the end token.
    """
    if not clips:
        return []
    settings = {
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "num_beams": 1,
        "eos_token_id": base.stop_ids,
    }
    with head_at(base.model):
        inputs = (
            _whole_prompts(base, clips)
            if shares_prefix(base)
            else _shared_prefix(model, base, clips)
        )
        ids = model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]
    rows = iter(_until_stop(row, base.stop_ids) for row in ids.tolist())
    return [[next(rows) for _ in clip.asked] for clip in clips]


def _whole_prompts(base: Base, clips: Sequence[Questions]) -> dict[str, Any]:
    """Inputs of `generate` with one full prompt a question."""
    prompts = [clip.prefix + asked for clip in clips for asked in clip.asked]
    owners = [clip.features for clip in clips for _ in clip.asked]
    inputs = base.batch(prompts, [owner.clip for owner in owners], pad="left")
    return {**_sides(owners), "visuals": [owner.visual for owner in owners], **inputs}


def _shared_prefix(model: Any, base: Base, clips: Sequence[Questions]) -> dict[str, Any]:
    """Inputs of `generate` with the clips' prefixes already in the cache, copied for each question."""
    features = [clip.features for clip in clips]
    prefix = base.batch(
        [clip.prefix for clip in clips], [owner.clip for owner in features], pad="left"
    )
    starts = prefix_positions(
        base, [clip.prefix for clip in clips], [owner.clip for owner in features]
    )
    before = _placed(base, [start[:, :-1] for start in starts])
    visuals = [owner.visual for owner in features]
    first = model(
        **_sides(features), visuals=visuals, **prefix, position_ids=before, use_cache=True
    )
    owner = [number for number, clip in enumerate(clips) for _ in clip.asked]
    rows = torch.tensor(owner, device=base.device)
    first.past_key_values.batch_select_indices(rows)
    questions = [asked for clip in clips for asked in clip.asked]
    asked = base.batch(questions, pad="left")
    behind = _placed(
        base,
        [
            starts[number][:, -1:] + torch.arange(len(ids))
            for number, ids in zip(owner, questions, strict=True)
        ],
    )
    joined = {
        key: torch.cat([prefix[key][rows], asked[key]], dim=1)
        for key in ("input_ids", "attention_mask")
    }
    joined["position_ids"] = torch.cat([before[..., rows, :], behind], dim=-1)
    # The side channels come again, though the visual tokens do not: a patch works on the rows whose
    # clip has its channel.
    return {
        **_sides([features[number] for number in owner]),
        **joined,
        "past_key_values": first.past_key_values,
    }


def _placed(base: Base, positions: Sequence[Tensor]) -> Tensor:
    """Left-padded positions `[B, L]`, or `[3, B, L]` where a family has several axes."""
    length = max(row.shape[1] for row in positions)
    stacked = torch.stack([F.pad(row, (length - row.shape[1], 0)) for row in positions], dim=1).to(
        base.device
    )
    return stacked if base.family.mrope else stacked[0]


def _sides(clips: Sequence[ClipFeatures]) -> dict[str, Any]:
    return {
        "channels": [clip.channels for clip in clips],
        "times": [clip.clip.times for clip in clips],
    }


def _until_stop(ids: Sequence[int], stop: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in stop), len(ids))
    return list(ids[:end])
