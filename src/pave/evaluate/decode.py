"""Greedy answers to several questions about one clip, paying for the clip's long prefix once.

A clip costs hundreds of tokens and a question about twenty. So the prefix goes through the language model once per clip, its
keys and values are copied for each question about it, and `generate` goes on from there. Padding sits between prefix and
question, masked out, and positions count real tokens only, so the result is that of asking one question at a time (a test
compares them).

Families with multi-axial positions compute them from the whole prompt; their questions go through plain `generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pave.bases import Base
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
def answer(model: Any, base: Base, clips: Sequence[Questions], max_new_tokens: int) -> list[list[list[int]]]:
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
    inputs = _whole_prompts(base, clips) if base.spec.mrope else _shared_prefix(model, base, clips)
    settings = {"max_new_tokens": max_new_tokens, "do_sample": False, "num_beams": 1, "eos_token_id": base.stop_ids}
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
    prefix = base.batch([clip.prefix for clip in clips], [clip.features.clip for clip in clips], pad="left")
    features = [clip.features for clip in clips]
    visuals = [owner.visual for owner in features]
    positions = (prefix["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    first = model(**_sides(features), visuals=visuals, **prefix, position_ids=positions, use_cache=True, logits_to_keep=1)
    owner = [number for number, clip in enumerate(clips) for _ in clip.asked]
    rows = torch.tensor(owner, device=base.device)
    first.past_key_values.batch_select_indices(rows)
    asked = base.batch([asked for clip in clips for asked in clip.asked], pad="left")
    joined = {key: torch.cat([prefix[key][rows], asked[key]], dim=1) for key in ("input_ids", "attention_mask")}
    # The side channels come again, though the visual tokens do not: a patch works on the rows whose clip has its channel.
    return {**_sides([features[number] for number in owner]), **joined, "past_key_values": first.past_key_values}


def _sides(clips: Sequence[ClipFeatures]) -> dict[str, Any]:
    return {"channels": [clip.channels for clip in clips], "times": [clip.clip.times for clip in clips]}


def _until_stop(ids: Sequence[int], stop: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in stop), len(ids))
    return list(ids[:end])
