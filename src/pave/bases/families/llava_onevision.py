"""LLaVA-OneVision: square frames, bilinear 2x pooling after the projector, one newline token at the end of each clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from pave.bases.families.common import container, feature_layers, pool_bilinear, selected_hidden
from pave.bases.preprocess import CLIP_MEAN, CLIP_STD, BaseSettings, normalize, resize
from pave.bases.spec import Clip, FamilySpec, PromptStyle
from pave.bases.visual import Layout, Visual


def grid_side(config: Any) -> int:
    """Tokens along one side of a frame after pooling, e.g. ceil(27 / 2) = 14."""
    patches = int(config.vision_config.image_size // config.vision_config.patch_size)
    return math.ceil(patches / 2)


def split(
    config: Any, output: Any, args: Mapping[str, Any], frames_per_clip: Sequence[int] | None, want_query: bool
) -> list[Visual]:
    """`pooler_output [B, F * S + 1, D]` -> one `Visual` a clip; query pooled as the authors' `get_2dPool` does."""
    batch, frames = args["pixel_values_videos"].shape[:2]
    side = grid_side(config)
    tokens = output.pooler_output
    layout = Layout(frames, side, side, trail=tokens.shape[1] - frames * side * side)
    queries: list[Tensor | None] = [None] * batch
    if want_query:
        pooled = pool_bilinear(selected_hidden(config, output, args), side)
        queries = list(pooled.unflatten(0, (batch, frames)))
    return [Visual(tokens[i], layout, queries[i]) for i in range(batch)]


class Ragged(list[Tensor]):
    """Tokens of clips of several lengths, `[n_i, D]` each; they flatten as the one tensor `[B, n, D]` would."""

    def flatten(self, first: int, last: int) -> Tensor:
        """`[sum n, D]`: the forward asks for axes 0 and 1, and there are no others to ask for."""
        return torch.cat(self)


class RaggedOutput(BaseModelOutputWithPooling):  # type: ignore[misc]
    """A tower output that keeps clips of several lengths apart, which beam search needs to repeat them in prompt order."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Beam search and chunked prefill put plain lists back; make them `Ragged` again."""
        ragged = name == "pooler_output" and isinstance(value, list)
        super().__setattr__(name, Ragged(value) if ragged else value)


def join(config: Any, visuals: Sequence[Visual], output: Any | None) -> Any:
    """Clips of one length give `[B, n, D]`; of several lengths (only ever cached ones) a list that flattens the same way."""
    tokens = [visual.tokens for visual in visuals]
    if len({t.shape[0] for t in tokens}) == 1:
        return container(output, torch.stack(tokens))
    return RaggedOutput(pooler_output=tokens)


def query_dim(config: Any) -> int:
    """Width of the tower features that the projector reads."""
    return int(config.vision_config.hidden_size * feature_layers(config))


def settings(config: Any) -> BaseSettings:
    """32 frames, squared to the tower's image size."""
    side = int(config.vision_config.image_size)
    return BaseSettings(frames=32, size=(side, side), mean=CLIP_MEAN, std=CLIP_STD)


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """Resize (no crop), normalise; one token step a frame."""
    pixels = normalize(resize(frames, options.frame_size()), options)
    count = frames.shape[0]
    text = "<video>" * (count * grid_side(config) ** 2 + 1)
    return Clip({"pixel_values_videos": pixels[None]}, times, text, count)


STYLE = PromptStyle(
    head="<|im_start|>user ",
    after_video="\n",
    ask="<|im_end|><|im_start|>assistant\n",
    end="<|im_end|>",
    again="<|im_start|>user \n",
)

SPEC = FamilySpec(
    name="llava_onevision",
    model_types=("llava_onevision",),
    split=split,
    join=join,
    query_dim=query_dim,
    prepare=prepare,
    settings=settings,
    style=STYLE,
    placeholder="<video>",
    token_layout="t*h*w+1",
)

SPECS = (SPEC,)
