"""GLM-4.1V, 4.5V and 4.6V (dense and mixtures of experts): a step is an image, then its second.

The places of a video's tokens are held by the *image* token, between the marks of a video. Tokens
run: step, row, column; two frames make a step, whose time is told of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.grids import (
    join_grids,
    patches_of,
    pixel_limits,
    split_grids,
    token_grids,
    tower_inputs,
)
from pave.bases.families.qwen3_vl import clip_size
from pave.bases.family import Family
from pave.bases.preprocess import merge_times
from pave.bases.prompt import PromptStyle
from pave.bases.settings import CLIP_MEAN, CLIP_STD, BaseSettings
from pave.bases.visual import Clip, Visual
from pave.hf_compat import beams_count_images

# Limits of a whole clip: the most are 30,000 tokens of 28 x 28 pixels and two frames.
MIN_PIXELS, MAX_PIXELS = 112 * 112, 30_000 * 28 * 28 * 2

# GLM has no token of its own for the end of an answer: the next speaker's ends it.
STYLE = PromptStyle(
    head="[gMASK]<sop><|user|>\n",
    after_video="",
    ask="<|assistant|>\n",
    end="<|user|>",
    again="\n",
)
# From 4.5V on a model may think or not; without a template it is asked not to, in its own words.
NO_THOUGHTS = replace(STYLE, ask="/nothink<|assistant|>\n<think></think>\n")


@register_family
class Glm4v(Family):
    """See the module's text."""

    name = "glm4v"
    model_types = ("glm4v", "glm4v_moe", "glm46v")
    placeholder = "<|image|>"
    style = STYLE
    # Templates open and close the span themselves, with one token in it.
    video_text = "<|begin_of_video|><|video|><|end_of_video|>"
    mrope = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        model_type = getattr(config, "model_type", "")
        text = getattr(config, "text_config", None)
        attention = self.lora_targets[:4]
        if getattr(text, "model_type", "") == "glm4v_text":
            # One matrix holds both projections into the dense language model's MLP.
            self.lora_targets = (*attention, "gate_up_proj", "down_proj")
        elif model_type == "glm4v_moe":
            # What else is no expert has names that peft takes for the experts.
            self.lora_targets = attention
        if model_type != "glm4v":
            self.style = NO_THOUGHTS

    @property
    def query_dim(self) -> int:
        """Width of the tower's tokens behind its own merging, which is what is projected."""
        return int(self.config.vision_config.out_hidden_size)

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one token step."""
        return int(self.config.vision_config.temporal_patch_size)

    @property
    def placeholder_id(self) -> int | None:
        """The image token's: no token of `video_token_id` is left in a prompt."""
        return int(self.config.image_token_id)

    @property
    def generating(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Beams find the tokens of a video."""
        return beams_count_images(self.config)

    def types_of(self, ids: Tensor) -> Tensor:
        """0 text, 1 image, 2 video: an image token between a video's marks belongs to it."""
        opened = (ids == self.config.video_start_token_id).cumsum(-1)
        closed = (ids == self.config.video_end_token_id).cumsum(-1)
        inside = (opened > closed).int()
        types: Tensor = (ids == self.config.image_token_id).int() * (1 + inside)
        return types

    def settings(self) -> BaseSettings:
        """32 frames within the processor's pixel limits of a clip."""
        return BaseSettings(
            frames=32,
            min_pixels=MIN_PIXELS,
            max_pixels=MAX_PIXELS,
            mean=CLIP_MEAN,
            std=CLIP_STD,
            tenths=getattr(self.config, "model_type", "") == "glm46v",
        )

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize into the clip's pixel budget, patchify; write each step's second behind it."""
        cut = patches_of(self.config)
        limits = pixel_limits(settings, MIN_PIXELS, MAX_PIXELS)
        size = clip_size(frames, cut, limits)
        pixels = tower_inputs(frames, size, settings, cut)
        (layout,) = token_grids(pixels["video_grid_thw"], cut.merge)
        span = "<|begin_of_image|>" + "<|image|>" * layout.spatial + "<|end_of_image|>"
        text = ""
        for second in times[:: cut.step].tolist():  # the first frame's of each step
            told = str(int(second))  # GLM-4.1V and 4.5V know whole seconds, cut off
            if settings.tenths:
                told = f"{second:.1f} seconds"
            text += span + told
        text = f"<|begin_of_video|>{text}<|end_of_video|>"
        return Clip(pixels, merge_times(times, cut.step), text, layout.t * cut.step)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """A tuple of `[t * h * w / 4, D]`; query: the tower's output, which is what is projected.

        It is at the token grid already.
        """
        merge = patches_of(self.config).merge
        grids = token_grids(args["video_grid_thw"], merge)
        query = output.last_hidden_state if want_query else None
        return split_grids(output.pooler_output, grids, query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip."""
        return join_grids(visuals, output)
