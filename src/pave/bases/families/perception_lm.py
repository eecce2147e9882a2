"""PerceptionLM: square frames without any text between them, pooled behind the projector.

Its tower is one of timm's, which has to be installed. It has no method for videos of its own:
forward gives frames to the one for images, under another name. Tokens run: frame, row, column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pave.bases.families import register_family
from pave.bases.families.common import container, frame_rows, side_of
from pave.bases.family import Family
from pave.bases.preprocess import normalize, resize
from pave.bases.prompt import PromptStyle
from pave.bases.settings import HALF, BaseSettings
from pave.bases.visual import Clip, Layout, Visual
from pave.errors import BaseError

STYLE = PromptStyle(
    head="<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
    after_video="",
    ask="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    end="<|eot_id|>",
    again="<|start_header_id|>user<|end_header_id|>\n\n",
)


@register_family
class PerceptionLM(Family):
    """See the module's text."""

    name = "perception_lm"
    model_types = ("perception_lm",)
    placeholder = "<|video|>"
    style = STYLE
    method = "get_image_features"
    argument = "pixel_values"

    @property
    def query_dim(self) -> int:
        """C_q, which timm calls otherwise."""
        return int(self.config.vision_config.model_args["embed_dim"])

    @property
    def patch(self) -> int:
        """Side of a patch in pixels; the names of timm's models have it, their configs do not."""
        name = self.config.vision_config.architecture
        found = re.search(r"patch(\d+)", name)
        if found is None:
            raise BaseError(f"the tower {name} does not say how large its patches are")
        return int(found[1])

    def settings(self) -> BaseSettings:
        """32 frames squared to the tower's image size."""
        height, width = self.config.vision_config.model_args["img_size"]
        return BaseSettings(frames=32, size=(height, width), mean=HALF, std=HALF)

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize, normalise; nothing but placeholders."""
        pixels = normalize(resize(frames, settings.size), settings)
        count, _, height, width = pixels.shape
        token = self.patch * self.config.projector_pooling_ratio  # pixels along its side
        tokens = (height // token) * (width // token)
        text = self.placeholder * (count * tokens)
        return Clip({self.pixels: pixels[None]}, times, text, count)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """`[frames of all clips, S, D]`; query: the tower's, pooled as the projected ones."""
        tokens = output.pooler_output  # [B * F, S, D]
        pixels = args.get(self.argument, args.get(self.pixels))  # [B, F, 3, H, W]
        batch, frames = pixels.shape[:2]
        side = side_of(tokens.shape[1])
        queries: Sequence[Tensor | None] = [None] * batch
        if want_query:
            hidden = output.last_hidden_state
            if self.config.vision_use_cls_token:
                hidden = hidden[:, 1:]
            queries = pooled_to(hidden, side).split(frames)
        visuals = []
        for part, query in zip(tokens.split(frames), queries, strict=True):
            visuals.append(Visual(part.flatten(0, 1), Layout(frames, side, side), query))
        return visuals

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """All frames of all clips in one tensor, one row a frame."""
        return container(output, frame_rows(visuals))


def pooled_to(tokens: Tensor, side: int) -> Tensor:
    """`[frames, g * g, C]` -> `[frames, side * side, C]`: means, as the projector pools."""
    rows = side_of(tokens.shape[1])  # g
    grid = tokens.transpose(1, 2).unflatten(2, (rows, rows))  # [frames, C, g, g]
    return F.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)
