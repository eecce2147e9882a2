"""A clip and its visual tokens as the plain tensors that a token cache keeps, and back.

tokens    [total, D]   visual tokens as the language model gets them
query     [T, S, C]    tower tokens in front of the projector, where the family has them
extra.0   ...          further features that travel with the tokens, a tensor a level
times     [T]          float64 seconds
layout                 the numbers of a `Layout`
frames                 raw frames that went in
text                   the placeholder text, in UTF-8 bytes
input.*                small inputs of the model, such as grids; pixels are left out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

import torch
from torch import Tensor

from pave.bases.visual import Clip, Layout, Visual

_INPUT = "input."


def tensors_of(clip: Clip, visual: Visual) -> dict[str, Tensor]:
    """What is kept of a clip."""
    tensors = {
        "tokens": visual.tokens,
        "times": clip.times,
        "layout": torch.tensor(astuple(visual.layout)),
        "frames": torch.tensor([clip.frames]),
        "text": torch.tensor(list(clip.text.encode()), dtype=torch.uint8),
    }
    if visual.query is not None:
        tensors["query"] = visual.query
    for level, extra in enumerate(visual.extra):
        tensors[f"extra.{level}"] = extra
    for name, value in clip.pixels.items():
        # The bulk of a clip, which only the tower needs, and it has run.
        if name.startswith("pixel"):
            continue
        if value.is_floating_point():
            # A cache that keeps bf16 never narrows float64, and these are seconds and the like.
            value = value.double()
        tensors[_INPUT + name] = value
    return tensors


def clip_of(tensors: Mapping[str, Tensor]) -> Clip:
    """The small part of what `tensors_of` makes."""
    inputs = {}
    for name, value in tensors.items():
        if name.startswith(_INPUT):
            if value.is_floating_point():
                # Back from the float64 that a narrowing cache leaves alone.
                value = value.float()
            inputs[name.removeprefix(_INPUT)] = value
    text = bytes(tensors["text"].tolist()).decode()
    return Clip(inputs, tensors["times"], text, int(tensors["frames"]))


def visual_of(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Visual:
    """The tokens of what `tensors_of` makes, in the base's type, whatever the cache keeps."""
    layout = Layout(*[int(number) for number in tensors["layout"]])
    query = None
    if "query" in tensors:
        query = tensors["query"].to(dtype)
    extra: list[Tensor] = []
    # Levels are numbered from 0 without a gap.
    while f"extra.{len(extra)}" in tensors:
        extra.append(tensors[f"extra.{len(extra)}"].to(dtype))
    return Visual(tensors["tokens"].to(dtype), layout, query, tuple(extra))
