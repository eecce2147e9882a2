"""A tiny patched model and clips that are asked several questions, some with sound."""

from __future__ import annotations

import torch

from helpers import tiny, tiny_patch
from pave.answer import Questions
from pave.bases import Clip
from pave.data import ClipFeatures
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.tokens import Tokens

ASKED = ((10, ["Hm?", "What is it, then?"]), (2, ["Who?"]), (4, ["Why?", "Hm?", "And how?"]))


def model(family: str = "llava_onevision") -> PatchedModel:
    """With a random patch, so that it changes what the base says."""
    model = PatchedModel(tiny.base(family))
    model.new_patch("audio", name="p", lora=LoraSpec(rank=2), fusion={"hidden": 32}, seed=0)
    tiny_patch.shake(model)
    return model


def clips(model: PatchedModel) -> list[tuple[Clip, Questions]]:
    """Two clips with sound and one without; clips and questions differ in length."""
    base, found = model.base, []
    for number, (frames, asked) in enumerate(ASKED):
        clip = base.clip(tiny.frames(frames, seed=number))
        values = torch.randn(
            7,
            1,
            model.patches["p"].config.fusion.side_dim,
            generator=torch.Generator().manual_seed(number),
        )
        channels = {} if number == 1 else {"audio": Tokens(values, torch.linspace(0, 2, 7))}
        prompt = base.encode_prompt(clip.text, [(question, None) for question in asked])
        features = ClipFeatures(clip, base.visual([clip])[0], channels)
        found.append(
            (clip, Questions(features, prompt.prefix, [question for question, _ in prompt.turns]))
        )
    return found
