"""LLaVA-OneVision: square frames, pooled 2x after the projector, one newline token a clip.

Tokens run: frame, row, column, and one newline token at the very end. LLaVA's own code, with which
the authors' patches were trained, puts newlines elsewhere, pools in other ways too, resizes with
Pillow and writes another prompt; an `InputSpec` says which, and `adapt` follows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from pave.bases.families import register_family
from pave.bases.families.common import (
    container,
    image_side,
    pooled,
    selected_hidden,
    selected_width,
)
from pave.bases.family import Family
from pave.bases.inputs import InputSpec
from pave.bases.preprocess import normalize, resize
from pave.bases.prompt import PromptStyle
from pave.bases.settings import CLIP_MEAN, CLIP_STD, BaseSettings
from pave.bases.visual import Clip, Layout, Visual

NATIVE = InputSpec()

STYLE = PromptStyle(
    head="<|im_start|>user ",
    after_video="\n",
    ask="<|im_end|><|im_start|>assistant\n",
    end="<|im_end|>",
    again="<|im_start|>user \n",
    past_ask="<|im_end|><|im_start|>assistant \n",
)

# The prompt of LLaVA's own code (`conv_llava_ov_qwen`) and its labels (`preprocess_llavaov_qwen`):
# three kinds of tokens are learnt even in the system's and the user's turns. The question is
# tokenised together with the newline after the video.
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


@register_family
class LlavaOnevision(Family):
    """See the module's text.

    Args:
        config: The model's config.
        inputs: How it is fed; Hugging Face's way by default.
        style: Its chat format when `inputs.chat` is "family" (`smol` has one of its own).
    """

    name = "llava_onevision"
    model_types = ("llava_onevision",)
    placeholder = "<video>"
    takes_more = True
    token_layout = "t*h*w+1"
    media_first = True

    def __init__(self, config: Any, inputs: InputSpec = NATIVE, style: PromptStyle = STYLE) -> None:
        super().__init__(config)
        self.inputs = inputs
        self._own_style = style
        self.style = LLAVA_STYLE if inputs.chat == "llava" else style
        # Hugging Face's method puts the newline last; any other place takes a rearrangement.
        self.native = inputs.newline == "one_token"
        patches = image_side(config) // int(config.vision_config.patch_size)
        self._side = patches // 2
        if inputs.pool == "bilinear":
            self._side = math.ceil(patches / 2)  # 27 -> 14, where the others drop a row: 13
        else:
            # The model pools within that method, so another pooling has to take its place there.
            self.shadows = {"apply_pooling": partial(pooled, factor=2, kind=inputs.pool)}

    def adapt(self, inputs: InputSpec) -> LlavaOnevision:
        """The family fed as LLaVA's own code feeds it, in whole or in part."""
        return LlavaOnevision(self.config, inputs, self._own_style)

    @property
    def query_dim(self) -> int:
        """Width of the tower features that the projector reads."""
        return selected_width(self.config)

    def settings(self) -> BaseSettings:
        """32 frames, squared to the tower's image size."""
        side = image_side(self.config)
        return BaseSettings(frames=32, size=(side, side), mean=CLIP_MEAN, std=CLIP_STD)

    def layout(self, frames: int) -> Layout:
        """Where the tokens of a clip of so many frames sit."""
        newline = self.inputs.newline
        return Layout(
            frames,
            self._side,
            self._side,
            trail=int(newline == "one_token"),
            row=int(newline == "grid"),
            tail=int(newline == "frame"),
        )

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize (no crop), normalise; one token step a frame."""
        mode = "pillow" if self.inputs.resize == "pillow" else "bicubic"
        pixels = normalize(resize(frames, settings.size, mode), settings)
        count = frames.shape[0]
        text = self.placeholder * self.layout(count).total
        return Clip({"pixel_values_videos": pixels[None]}, times, text, count)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """One `Visual` a clip; the query is pooled as the authors' `get_2dPool` does."""
        batch, frames = args["pixel_values_videos"].shape[:2]
        layout = self.layout(frames)
        queries: Sequence[Tensor | None] = [None] * batch
        if want_query:
            hidden = selected_hidden(self.config, output, args)  # [B * F, g * g, C_q]
            small = pooled(hidden, 2, self.inputs.pool)
            queries = small.unflatten(0, (batch, frames)).unbind()  # B of [F, S, C_q]
        visuals = []
        for tokens, query in zip(output.pooler_output, queries, strict=True):
            if not self.native:
                tokens = arrange(tokens, layout)
            visuals.append(Visual(tokens, layout, query))
        return visuals

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """Clips of one length give `[B, n, D]`, others a list that flattens the same way.

        Only cached clips come in several lengths: the tower takes a batch as one tensor.
        """
        tokens = [visual.tokens for visual in visuals]
        if len({clip.shape[0] for clip in tokens}) == 1:
            return container(output, torch.stack(tokens))
        return RaggedOutput(pooler_output=tokens)


def arrange(tokens: Tensor, layout: Layout) -> Tensor:
    """Hugging Face's `[F * S + 1, D]`, the newline last, in another layout: `[layout.total, D]`."""
    body, newline = tokens[:-1], tokens[-1]
    rows = body.view(layout.t, layout.h, layout.w, -1)  # [F, h, w, D]
    if layout.row:
        rows = torch.cat([rows, newline.expand(layout.t, layout.h, 1, -1)], 2)
    steps = rows.flatten(1, 2)  # [F, h * (w + row), D]
    if layout.tail:
        steps = torch.cat([steps, newline.expand(layout.t, 1, -1)], 1)
    return steps.flatten(0, 1)


class Ragged(list[Tensor]):
    """Tokens of clips of several lengths, `[n_i, D]` each.

    They flatten as the one tensor `[B, n, D]` would, which is all that forward does with it.
    """

    def flatten(self, first: int, last: int) -> Tensor:
        """`[sum n, D]`: forward asks for axes 0 and 1, and there are no others to ask for."""
        return torch.cat(self)


class RaggedOutput(BaseModelOutputWithPooling):  # type: ignore[misc]  # transformers is untyped
    """A tower output that keeps clips of several lengths apart.

    Beam search repeats them in prompt order, and chunked prefill cuts them; both put plain lists
    back, which become `Ragged` again here.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep lists of tokens ragged."""
        ragged = name == "pooler_output" and isinstance(value, list)
        super().__setattr__(name, Ragged(value) if ragged else value)
