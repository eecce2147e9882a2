"""The thinker of Qwen2.5-Omni: Qwen2.5-VL's tower and frames, 25 positions a second.

A checkpoint holds a thinker, which sees, hears and writes, and a talker, which speaks; the base is
the thinker alone. Sound is left to a patch, as for every base: its own audio tower is loaded and
not asked. Tokens come out in the order step, row, column, the tower's last layer sorted by window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.grids import (
    MAX_PIXELS,
    MIN_PIXELS,
    join_grids,
    qwen2_clip,
)
from pave.bases.families.qwen2_5_vl import split_windows, step_seconds
from pave.bases.family import Family
from pave.bases.prompt import PromptStyle
from pave.bases.settings import CLIP_MEAN, CLIP_STD, BaseSettings
from pave.bases.visual import Clip, Visual

# As its template writes a talk without a system turn of its own.
STYLE = PromptStyle(
    head="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    after_video="",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)


@register_family
class Qwen25Omni(Family):
    """See the module's text."""

    name = "qwen2_5_omni"
    model_types = ("qwen2_5_omni_thinker",)
    placeholder = "<|VIDEO|>"
    style = STYLE
    # Templates open and close the span themselves, with one token in it.
    video_text = "<|vision_bos|><|VIDEO|><|vision_eos|>"
    mrope = True
    fixed_budget = True

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one token step."""
        return int(self.config.vision_config.temporal_patch_size)

    def types_of(self, ids: Tensor) -> Tensor | None:
        """None: its own rule looks for the marks around a clip."""
        return None

    def settings(self) -> BaseSettings:
        """32 frames within the limits of a frame that its processor has."""
        return BaseSettings(
            frames=32,
            min_pixels=MIN_PIXELS,
            max_pixels=MAX_PIXELS,
            mean=CLIP_MEAN,
            std=CLIP_STD,
        )

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """As Qwen2.5-VL, in other words."""
        clip = qwen2_clip(self.config, settings, frames, times)
        # The same number of places, under this tokenizer's names.
        places = clip.text.count("<|video_pad|>")
        text = "<|vision_bos|>" + self.placeholder * places + "<|vision_eos|>"
        seconds = step_seconds(times, self.frames_per_step)
        pixels = {**clip.pixels, "video_second_per_grid": seconds}
        return replace(clip, pixels=pixels, text=text)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """As Qwen2.5-VL."""
        return split_windows(self.config, output, args["video_grid_thw"], want_query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip."""
        return join_grids(visuals, output)
