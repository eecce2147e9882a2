"""Qwen3-VL (dense and mixture of experts): a timestamp before every step, "deepstack" features.

Tokens run: step, row, column, each step in a vision span of its own behind its time. Features of
some earlier tower layers travel beside the tokens and are added to the language model's first
layers ("deepstack"); patches leave them alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.common import container
from pave.bases.families.grids import (
    Patches,
    patches_of,
    pixel_limits,
    split_blocks,
    token_grids,
    tower_inputs,
)
from pave.bases.family import Family
from pave.bases.preprocess import check_aspect, merge_times
from pave.bases.prompt import PromptStyle
from pave.bases.settings import HALF, BaseSettings
from pave.bases.visual import Clip, Visual
from pave.hf_compat import deepstack_output

# Limits of a whole clip, not of a frame as in Qwen2-VL.
MIN_PIXELS, MAX_PIXELS = 128 * 32 * 32, 768 * 32 * 32
FRAME_TOKENS = 768  # of a frame, at most, where a folder asks for the cap

STYLE = PromptStyle(
    head="<|im_start|>user\n",
    after_video="",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)


@register_family
class Qwen3VL(Family):
    """See the module's text."""

    name = "qwen3_vl"
    model_types = ("qwen3_vl", "qwen3_vl_moe")
    placeholder = "<|video_pad|>"
    style = STYLE
    # Templates open and close the span themselves, with one token in it.
    video_text = "<|vision_start|><|video_pad|><|vision_end|>"
    mrope = True

    @property
    def frames_per_step(self) -> int:
        """Frames merged into one token step."""
        return int(self.config.vision_config.temporal_patch_size)

    def settings(self) -> BaseSettings:
        """32 frames within the processor's pixel limits of a clip."""
        return qwen3_settings()

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize into the clip's pixel budget, patchify; write `<0.5 seconds>` before each step."""
        return qwen3_clip(self.config, settings, frames, times)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """As Qwen2-VL; a clip's deepstack features travel as `extra`."""
        return split_deepstack(self.config, output, args["video_grid_thw"], want_query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip, and deepstack features as one such tuple a level."""
        return join_deepstack(visuals, output)


def split_deepstack(config: Any, output: Any, grids: Tensor, want_query: bool) -> list[Visual]:
    """As `split_blocks`, with the deepstack features of each clip as its `extra`.

    Args:
        config: The base's.
        output: What the tower method returned; `deepstack_features` is one tuple of clips a level.
        grids: `[clips, 3]` patches in time, height and width.
        want_query: Whether the mean of each block comes along.
    """
    visuals = split_blocks(config, output, grids, want_query)
    # One tuple of clips a level -> one tuple of levels a clip.
    levels = zip(*output.deepstack_features, strict=True)
    found = []
    for visual, features in zip(visuals, levels, strict=True):
        found.append(replace(visual, extra=tuple(features)))
    return found


def join_deepstack(visuals: Sequence[Visual], output: Any | None) -> Any:
    """The families' own container: a tuple with one tensor a clip, another such tuple a level."""
    tokens = tuple(visual.tokens for visual in visuals)
    extras = (visual.extra for visual in visuals)
    levels = [tuple(level) for level in zip(*extras, strict=True)]
    if output is None:
        return deepstack_output(pooler_output=tokens, deepstack_features=levels)
    return container(output, tokens, deepstack_features=levels)


def qwen3_settings() -> BaseSettings:
    """32 frames within the processor's limits of a clip."""
    return BaseSettings(
        frames=32, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS, mean=HALF, std=HALF
    )


def qwen3_clip(config: Any, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """A clip of Qwen3-VL and 3.5: within a budget for all frames, a vision span a step."""
    cut = patches_of(config)
    count = max(frames.shape[0], cut.step)
    low, high = pixel_limits(settings, MIN_PIXELS, MAX_PIXELS)
    if settings.cap_pixels_per_frame:
        # Few frames would otherwise spend the whole budget of a long clip.
        most = (settings.max_video_tokens or FRAME_TOKENS) * cut.factor**2
        high = count * max(min(most, high // count), int(low * 1.05))
    size = clip_size(frames, cut, (low, high))
    pixels = tower_inputs(frames, size, settings, cut)
    (layout,) = token_grids(pixels["video_grid_thw"], cut.merge)
    steps = merge_times(times, cut.step)
    span = "<|vision_start|>" + "<|video_pad|>" * layout.spatial + "<|vision_end|>"
    # One decimal: at more than ten steps a second some neighbours are told the same time.
    text = "".join(f"<{second:.1f} seconds>{span}" for second in steps.tolist())
    return Clip(pixels, steps, text, layout.t * cut.step)


def clip_size(frames: Tensor, cut: Patches, limits: tuple[int, int]) -> tuple[int, int]:
    """Height and width that fit a clip into limits of all its frames together."""
    # A single frame is repeated before it is measured.
    count = max(frames.shape[0], cut.step)
    height, width = frames.shape[-2:]
    return fit((count, height, width), cut.factor, cut.step, limits)


def fit(
    shape: tuple[int, int, int], factor: int, step: int, limits: tuple[int, int]
) -> tuple[int, int]:
    """Height and width divisible by `factor`; unlike Qwen2-VL's, the limits hold for the clip.

    Args:
        shape: Frames, height and width of the clip.
        factor: Pixels along one side of a token.
        step: Frames that become one token step.
        limits: Fewest and most pixels of all frames together.
    """
    frames, height, width = shape
    # Smaller than a token: enlarged first, or a side would round to zero.
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    check_aspect(height, width)
    low, high = limits
    h, w = round(height / factor) * factor, round(width / factor) * factor
    # Python's round, halves to even, is the processor's too: 5 frames count as 4, and 7 as 8.
    total = round(frames / step) * step * h * w
    if total > high:
        beta = math.sqrt(frames * height * width / high)
        h = max(factor, math.floor(height / beta / factor) * factor)
        w = max(factor, math.floor(width / beta / factor) * factor)
    elif total < low:
        beta = math.sqrt(low / (frames * height * width))
        h = math.ceil(height * beta / factor) * factor
        w = math.ceil(width * beta / factor) * factor
    return h, w
