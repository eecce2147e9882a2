"""The thinker of Qwen3-Omni: Qwen3-VL's tower, and positions that are fractions of one.

A checkpoint holds a thinker, which sees, hears and writes, and a talker, which speaks; the base is
the thinker alone, and sound is left to a patch, as in Qwen2.5-Omni. Frames are resized one by one,
as those of Qwen2.5-VL, and no times are written: 13 positions make a second, whatever fraction of
one a step takes. Tokens run: step, row, column; deepstack features travel beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.grids import qwen2_clip
from pave.bases.families.qwen2_5_vl import step_seconds
from pave.bases.families.qwen3_vl import STYLE, join_deepstack, split_deepstack
from pave.bases.family import Family
from pave.bases.settings import HALF, BaseSettings
from pave.bases.visual import Clip, Visual

# Limits of a frame, written by its processor as 128 and 768 tokens of 32 x 32 pixels.
MIN_PIXELS, MAX_PIXELS = 128 * 32 * 32, 768 * 32 * 32


@register_family
class Qwen3Omni(Family):
    """See the module's text."""

    name = "qwen3_omni"
    model_types = ("qwen3_omni_moe_thinker",)
    placeholder = "<|video_pad|>"
    style = STYLE
    # Templates open and close the span themselves, with one token in it.
    video_text = "<|vision_start|><|video_pad|><|vision_end|>"
    mrope = True
    fixed_budget = True
    # What else is no expert has names that peft takes for the experts.
    lora_targets = Family.lora_targets[:4]

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one token step."""
        return int(self.config.vision_config.temporal_patch_size)

    def types_of(self, ids: Tensor) -> Tensor | None:
        """None: its own rule looks for the marks around a clip."""
        return None  # and forward takes no such argument

    def settings(self) -> BaseSettings:
        """32 frames within the limits of a frame that its processor has."""
        return BaseSettings(
            frames=32, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS, mean=HALF, std=HALF
        )

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Each frame resized into the limits, one vision span, the seconds of one token step."""
        clip = qwen2_clip(self.config, settings, frames, times)
        # Its processor counts on the rate that it was asked for; these are the frames' own.
        seconds = step_seconds(times, self.frames_per_step)
        return replace(clip, pixels={**clip.pixels, "video_second_per_grid": seconds})

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """As Qwen3-VL."""
        return split_deepstack(self.config, output, args["video_grid_thw"], want_query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """As Qwen3-VL."""
        return join_deepstack(visuals, output)
