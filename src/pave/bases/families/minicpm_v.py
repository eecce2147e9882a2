"""MiniCPM-V 4.6 and 4.7: frames of any shape and one size, 4 x 4 patches a token, no times.

All patches of all frames of all clips lie behind each other in one long row, which tells no clip
from the next. Frames are never cut into slices, as pictures are: a slice is a picture of its own,
and 10 frames would be 100. In 4.7 positions are multi-axial, every frame on a canvas of its own.
Tokens run: frame, row, column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.common import container, frame_counts
from pave.bases.families.qwen3_5 import STYLE as QWEN_STYLE
from pave.bases.families.qwen3_5 import Qwen35
from pave.bases.family import Family
from pave.bases.preprocess import normalize, resize
from pave.bases.settings import HALF, BaseSettings
from pave.bases.visual import Clip, Layout, Visual
from pave.errors import BaseError

PIXELS = 448 * 448  # of a frame, about


@register_family
class MiniCPMV(Family):
    """See the module's text."""

    name = "minicpm_v"
    model_types = ("minicpmv4_6", "minicpmv4_7")
    placeholder = "<|video_pad|>"
    style = QWEN_STYLE
    pixel_axis = -1
    lora_targets = Qwen35.lora_targets  # the same language model

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.mrope = config.model_type == "minicpmv4_7"

    @property
    def per_frame(self) -> str:
        """The argument with one row a frame."""
        return "target_sizes_videos"

    @property
    def merge(self) -> int:
        """Patches along the side of a token: two within the tower (not with "4x"), two behind."""
        if self.config.downsample_mode == "4x":
            return 2
        return 4

    def settings(self) -> BaseSettings:
        """32 frames of about 448 x 448 pixels."""
        return BaseSettings(frames=32, max_pixels=PIXELS, mean=HALF, std=HALF)

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize to the budget, normalise, cut into a row of patches; an image span a frame."""
        count, _, height, width = frames.shape
        side = int(self.config.vision_config.patch_size)
        size = fit(height, width, side * self.merge, settings.max_pixels or PIXELS)
        pixels = normalize(resize(frames, size), settings)
        rows, columns = size[0] // side, size[1] // side  # in patches
        inputs = {
            "pixel_values_videos": patch_row(pixels, side),
            "target_sizes_videos": torch.tensor([[rows, columns]] * count, dtype=torch.int32),
        }
        tokens = rows * columns // self.merge**2
        span = "<image>" + self.placeholder * tokens + "</image>"
        return Clip(inputs, times, span * count, count)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """A list of `[S, D]`, one a frame; query: the mean of the 2 x 2 that are merged last."""
        sizes = args["target_sizes_videos"].tolist()  # of every frame, in patches
        counts = frame_counts(frames_per_clip, len(sizes))
        visuals = []
        frame, place = 0, 0  # where the clip begins: among frames, and among tokens of the tower
        for count in counts:
            rows, columns = sizes[frame]
            if sizes[frame : frame + count] != [sizes[frame]] * count:
                raise BaseError("frames of one clip differ in size; pass the frames of every clip")
            layout = Layout(count, rows // self.merge, columns // self.merge)
            tokens = torch.cat(list(output.pooler_output[frame : frame + count]))
            query = None
            if want_query:
                size = layout.total * 4
                hidden = output.last_hidden_state[0, place : place + size]
                blocks = hidden.unflatten(0, (count, layout.h, 2, layout.w, 2))
                query = blocks.mean((2, 4)).flatten(1, 2)  # [F, S, C_q]
                place += size
            visuals.append(Visual(tokens, layout, query))
            frame += count
        return visuals

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A list with one tensor a frame."""
        frames: list[Tensor] = []
        for visual in visuals:
            frames += visual.tokens.split(visual.layout.spatial)
        return container(output, frames)


def fit(height: int, width: int, factor: int, pixels: int) -> tuple[int, int]:
    """Height and width divisible by `factor` with about so many pixels, the shape nearly kept."""
    aspect = width / height
    # Cut off, then rounded, as the processor does.
    high = int(math.sqrt(pixels) / math.sqrt(aspect))
    wide = int(high * aspect)
    return max(round(high / factor), 1) * factor, max(round(wide / factor), 1) * factor


def patch_row(pixels: Tensor, side: int) -> Tensor:
    """`[F, 3, H, W]` -> `[1, 3, side, F * patches * side]`: all patches side by side."""
    cut = pixels.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    # [F, 3, row, y, column, x] -> [3, y, F, row, column, x]
    ordered: Tensor = cut.permute(1, 3, 0, 2, 4, 5)
    return ordered.flatten(2)[None].contiguous()
