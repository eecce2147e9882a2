"""LLaVA-OneVision: square frames, bilinear 2x pooling after the projector, one newline token at the end of each clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutputWithPooling

from pave.bases.families.common import (
    container,
    feature_layers,
    from_map,
    pool_bilinear,
    pool_mean,
    selected_hidden,
    to_map,
)
from pave.bases.family import Clip, Family, PromptStyle
from pave.bases.inputs import InputSpec
from pave.bases.preprocess import (
    CLIP_MEAN,
    CLIP_STD,
    BaseSettings,
    normalize,
    resize,
    resize_pillow,
)
from pave.bases.visual import Layout, Visual


def grid_side(config: Any, pool: str = "bilinear") -> int:
    """Tokens along one side of a frame after pooling, e.g. ceil(27 / 2) = 14; 13 with the poolings that drop a last row."""
    patches = int(config.vision_config.image_size // config.vision_config.patch_size)
    return math.ceil(patches / 2) if pool == "bilinear" else patches // 2


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
    inputs: InputSpec = InputSpec(),  # noqa: B008 - frozen
) -> list[Visual]:
    """`pooler_output [B, F * S + 1, D]` -> one `Visual` a clip; query pooled as the authors' `get_2dPool` does."""
    batch, frames = args["pixel_values_videos"].shape[:2]
    side = grid_side(config, inputs.pool)
    tokens = output.pooler_output
    layout = layout_of(frames, side, inputs.newline)
    if inputs.newline == "one_token":
        layout = replace(layout, trail=tokens.shape[1] - frames * side * side)
    queries: list[Tensor | None] = [None] * batch
    if want_query:
        hidden = selected_hidden(config, output, args)
        pooled = (
            pool_bilinear(hidden, side) if inputs.pool == "bilinear" else POOLS[inputs.pool](hidden)
        )
        queries = list(pooled.unflatten(0, (batch, frames)))
    native = inputs.newline == "one_token"
    return [
        Visual(tokens[i] if native else arrange(tokens[i], layout), layout, queries[i])
        for i in range(batch)
    ]


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


def prepare(
    config: Any,
    options: BaseSettings,
    frames: Tensor,
    times: Tensor,
    inputs: InputSpec = InputSpec(),  # noqa: B008 - frozen
) -> Clip:
    """Resize (no crop), normalise; one token step a frame."""
    scale = resize_pillow if inputs.resize == "pillow" else resize
    pixels = normalize(scale(frames, options.frame_size()), options)
    count = frames.shape[0]
    text = "<video>" * layout_of(count, grid_side(config, inputs.pool), inputs.newline).total
    return Clip({"pixel_values_videos": pixels[None]}, times, text, count)


STYLE = PromptStyle(
    head="<|im_start|>user ",
    after_video="\n",
    ask="<|im_end|><|im_start|>assistant\n",
    end="<|im_end|>",
    again="<|im_start|>user \n",
)

LLAVA_STYLE = PromptStyle(
    head="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    after_video="",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>\n",
    again="<|im_start|>user",
    question="\n",
    header="<|im_start|>assistant\n",
    learnt=("\n", "<|im_start|>", "<|im_end|>"),
)
"""The prompt of LLaVA's own code (`conv_llava_ov_qwen`) and its labels (`preprocess_llavaov_qwen`): three kinds of tokens are
learnt even in the system's and the user's turns. The question is tokenised together with the
newline after the video."""

POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda tokens: pool_mean(tokens, 2),
    "max": lambda tokens: from_map(F.max_pool2d(to_map(tokens), 2)),
}
"""LLaVA's other poolings (`get_2dPool`); an odd last row or column is dropped. Bilinear is Hugging Face's own."""


def adapt(spec: Family, inputs: InputSpec) -> Family:
    """The family fed as LLaVA's own code feeds it, in whole or in part."""
    return replace(
        spec,
        split=partial(split, inputs=inputs),
        prepare=partial(prepare, inputs=inputs),
        style=LLAVA_STYLE if inputs.chat == "llava" else spec.style,
        native=inputs.newline == "one_token",
        shadows={} if inputs.pool == "bilinear" else {"apply_pooling": POOLS[inputs.pool]},
    )


def layout_of(frames: int, side: int, newline: str) -> Layout:
    """Where the tokens of a clip sit for each place of the newline tokens."""
    return Layout(
        frames,
        side,
        side,
        trail=int(newline == "one_token"),
        row=int(newline == "grid"),
        tail=int(newline == "frame"),
    )


def arrange(tokens: Tensor, layout: Layout) -> Tensor:
    """Hugging Face's `[F * S + 1, D]`, the newline last, in another layout: `[layout.total, D]`."""
    body, newline = tokens[:-1], tokens[-1]
    rows = body.view(layout.t, layout.h, layout.w, -1)
    if layout.row:
        rows = torch.cat([rows, newline.expand(layout.t, layout.h, 1, -1)], 2)
    steps = rows.flatten(1, 2)
    if layout.tail:
        steps = torch.cat([steps, newline.expand(layout.t, 1, -1)], 1)
    return steps.flatten(0, 1)


SPEC = Family(
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
    adapt=adapt,
)

SPECS = (SPEC,)
