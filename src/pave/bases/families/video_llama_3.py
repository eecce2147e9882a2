"""VideoLLaMA3: frames of any size, one a step, "Time 1.0s:" before each, still tokens dropped.

Tokens run: frame, row, column. Those whose pixels hardly changed since the frame before are marked
in `video_compression_mask`; the model drops them behind the projector, so they are in `Visual` (a
patch sees the whole grid) but not in the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.grids import (
    MAX_PIXELS,
    MIN_PIXELS,
    Patches,
    join_grids,
    pixel_limits,
    split_grids,
    token_grids,
    tower_inputs,
)
from pave.bases.family import Family
from pave.bases.preprocess import smart_resize
from pave.bases.prompt import PromptStyle
from pave.bases.settings import HALF, BaseSettings
from pave.bases.visual import Clip, Visual

MERGE = 2  # videos are merged 2 x 2; images, which pave does not use, are not
THRESHOLD = 0.1  # mean change of a normalised pixel value, times 255

STYLE = PromptStyle(
    head="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    after_video="\n",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)


@register_family
class VideoLlama3(Family):
    """See the module's text."""

    name = "video_llama_3"
    model_types = ("video_llama_3",)
    placeholder = "<|video_pad|>"
    style = STYLE
    old_limits = True

    def settings(self) -> BaseSettings:
        """32 frames; the pixel budget holds for the whole clip."""
        return BaseSettings(
            frames=32,
            min_pixels=MIN_PIXELS,
            max_pixels=MAX_PIXELS,
            mean=HALF,
            std=HALF,
            compress=True,
        )

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize into the pixel budget, patchify, mark what to keep; the text counts only that."""
        count, _, height, width = frames.shape
        cut = Patches(self.config.vision_config.patch_size, MERGE)
        low, high = pixel_limits(settings, MIN_PIXELS, MAX_PIXELS)
        # The most is shared out among the frames, the fewest holds for each: the processor's rule.
        size = smart_resize(height, width, cut.factor, low, high // count)
        pixels = tower_inputs(frames, size, settings, cut)
        (layout,) = token_grids(pixels["video_grid_thw"], MERGE)
        keep = torch.ones(count, layout.spatial, dtype=torch.bool)  # [F, S]
        if settings.compress:
            keep = changed(pixels["pixel_values_videos"], count)
        pixels["video_merge_sizes"] = torch.tensor([MERGE])
        pixels["video_compression_mask"] = keep.flatten()
        parts = []
        for second, kept in zip(times.tolist(), keep.sum(1).tolist(), strict=True):
            parts.append(f"Time {second:.1f}s:" + self.placeholder * kept)
        return Clip(pixels, times, ",".join(parts), count)

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
        grids = token_grids(args["video_grid_thw"], MERGE)
        query = output.last_hidden_state if want_query else None
        return split_grids(output.pooler_output, grids, query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip."""
        return join_grids(visuals, output)


def changed(patches: Tensor, frames: int) -> Tensor:
    """`[frames, S]` bool: tokens whose pixels changed since the frame before.

    All of the first frame count as changed, and one of each further frame at least.

    Args:
        patches: `[frames * S * merge^2, pixels]` normalised patches in merge-block order.
        frames: Number of frames.
    """
    spatial = patches.shape[0] // frames // MERGE**2
    blocks = patches.reshape(frames, spatial, -1)  # [frames, S, pixels of a token]
    mask = torch.ones(blocks.shape[:2], dtype=torch.bool)
    if frames > 1:
        # Times 255 although the pixels are normalised to -1..1: the rule that it was trained with.
        difference = (blocks[1:] - blocks[:-1]).abs().mean(-1) * 255  # [frames - 1, S]
        mask[1:] = difference > THRESHOLD
        # A frame without a token would leave its "Time" with nothing behind it.
        mask[:, 0] |= ~mask.any(1)
    return mask
