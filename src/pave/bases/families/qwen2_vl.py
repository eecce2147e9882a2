"""Qwen2-VL: frames of any size, two frames a step, 2x2 merging, no timestamps in the text.

Positions are multi-axial (time, height, width), computed by the model from the clip's grid. Tokens
run: step, row, column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.grids import (
    join_grids,
    qwen2_clip,
    qwen2_settings,
    split_blocks,
)
from pave.bases.family import Family
from pave.bases.prompt import PromptStyle
from pave.bases.settings import BaseSettings
from pave.bases.visual import Clip, Visual

STYLE = PromptStyle(
    head="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    after_video="",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)


@register_family
class Qwen2VL(Family):
    """See the module's text."""

    name = "qwen2_vl"
    model_types = ("qwen2_vl",)
    placeholder = "<|video_pad|>"
    style = STYLE
    old_limits = True
    # Templates open and close the span themselves, with one token in it.
    video_text = "<|vision_start|><|video_pad|><|vision_end|>"
    mrope = True

    @property
    def query_dim(self) -> int:
        """Width of the tower; its config calls the width of its *output* `hidden_size`."""
        return int(self.config.vision_config.embed_dim)

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one token step."""
        return int(self.config.vision_config.temporal_patch_size)

    def settings(self) -> BaseSettings:
        """32 frames within the reference's pixel limits of a frame and of a clip."""
        return qwen2_settings()

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize each frame into the pixel limits, patchify; an odd last frame is repeated."""
        return qwen2_clip(self.config, settings, frames, times)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """A tuple of `[t * h * w / 4, D]`; query: the mean of each 2x2 block of the last layer."""
        return split_blocks(self.config, output, args["video_grid_thw"], want_query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip."""
        return join_grids(visuals, output)
