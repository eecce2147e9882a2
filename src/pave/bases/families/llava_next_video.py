"""LLaVA-NeXT-Video: square frames, average pooling before the projector, Vicuna's chat format.

Tokens run: frame, row, column, without any newline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.common import (
    container,
    image_side,
    pooled,
    selected_hidden,
    selected_width,
)
from pave.bases.family import Family
from pave.bases.preprocess import center_crop, normalize, resize, shortest_edge
from pave.bases.prompt import PromptStyle
from pave.bases.settings import CLIP_MEAN, CLIP_STD, BaseSettings
from pave.bases.visual import Clip, Layout, Visual

# Vicuna's: no line breaks between turns, and the end token straight behind the answer.
STYLE = PromptStyle(
    head="USER: ",
    after_video="\n",
    ask=" ASSISTANT:",
    end="</s>",
    again="USER: ",
    answer=" ",
    past_end=" USER: ",  # the template leaves the end token out of what was said
)


@register_family
class LlavaNextVideo(Family):
    """See the module's text."""

    name = "llava_next_video"
    model_types = ("llava_next_video",)
    placeholder = "<video>"
    takes_more = True
    style = STYLE
    media_first = True
    between_texts = " "

    @property
    def query_dim(self) -> int:
        """Width of the tower features that the projector reads."""
        return selected_width(self.config)

    def settings(self) -> BaseSettings:
        """32 frames, the shorter edge at the tower's image size, the centre cut out."""
        side = image_side(self.config)
        return BaseSettings(
            frames=32, shortest_edge=side, crop=(side, side), mean=CLIP_MEAN, std=CLIP_STD
        )

    def layout(self, frames: int) -> Layout:
        """Where the tokens of a clip of so many frames sit, e.g. 24 / 2 = 12 along a side."""
        patches = image_side(self.config) // int(self.config.vision_config.patch_size)
        side = patches // int(self.config.spatial_pool_stride)
        return Layout(frames, side, side)

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize, crop, normalise; one token step a frame."""
        side = image_side(self.config)
        # Some files name both sides: frames are then squeezed, not cut, to their shape.
        size = settings.size or shortest_edge(frames, settings.shortest_edge or side)
        small = resize(frames, size)
        square = center_crop(small, settings.crop or (side, side))
        count = frames.shape[0]
        text = self.placeholder * self.layout(count).total
        pixels = normalize(square, settings)
        return Clip({"pixel_values_videos": pixels[None]}, times, text, count)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """`[B, F * S, D]`; query: the averaged tower tokens, which are what gets projected."""
        batch, frames = args["pixel_values_videos"].shape[:2]
        layout = self.layout(frames)
        queries: Sequence[Tensor | None] = [None] * batch
        if want_query:
            hidden = selected_hidden(self.config, output, args)  # [B * F, g * g, C_q]
            small = pooled(hidden, self.config.spatial_pool_stride)
            queries = small.unflatten(0, (batch, frames)).unbind()  # B of [F, S, C_q]
        clips = zip(output.pooler_output, queries, strict=True)
        return [Visual(tokens, layout, query) for tokens, query in clips]

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """Clips of one length give `[B, n, D]`, others a list, which forward flattens alike."""
        # Only cached clips come in several lengths: the tower takes a batch as one tensor.
        tokens: Any = [visual.tokens for visual in visuals]
        if len({clip.shape[0] for clip in tokens}) == 1:
            tokens = torch.stack(tokens)
        return container(output, tokens)
