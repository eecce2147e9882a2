"""Qwen3.5 and 3.6 (dense and mixture of experts): Qwen3-VL's frames, linear attention behind them.

Tokens run: step, row, column, each step in a vision span of its own behind its time; no features
travel beside them. Three of four layers of the language model keep a recurrent state instead of
keys and values, so questions cannot share a prefix (`pave.bases.why_no_shared_prefix`): each one
reads it for itself, which gives the same answers in more time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.grids import (
    join_grids,
    split_blocks,
)
from pave.bases.families.qwen3_vl import STYLE as QWEN3_STYLE
from pave.bases.families.qwen3_vl import qwen3_clip, qwen3_settings
from pave.bases.family import Family
from pave.bases.settings import BaseSettings
from pave.bases.visual import Clip, Visual

# An empty block of thoughts: how the published templates of all sizes open an answer without any.
STYLE = replace(QWEN3_STYLE, ask="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")


@register_family
class Qwen35(Family):
    """See the module's text."""

    name = "qwen3_5"
    model_types = ("qwen3_5", "qwen3_5_moe")
    placeholder = "<|video_pad|>"
    style = STYLE
    # Templates open and close the span themselves, with one token in it.
    video_text = "<|vision_start|><|video_pad|><|vision_end|>"
    mrope = True
    # Linear attention has projections of its own. Those of its gates (`in_proj_a`, `in_proj_b`) are
    # left out: one number a head says how fast the state fades.
    lora_targets = (*Family.lora_targets, "in_proj_qkv", "in_proj_z", "out_proj")

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one token step."""
        return int(self.config.vision_config.temporal_patch_size)

    def settings(self) -> BaseSettings:
        """32 frames within the processor's pixel limits of a clip."""
        return qwen3_settings()

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """As Qwen3-VL, whose processor it uses."""
        return qwen3_clip(self.config, settings, frames, times)

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
