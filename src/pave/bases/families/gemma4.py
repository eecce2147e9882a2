"""Gemma 4: frames of any shape within a budget of tokens, a token of k x k patches, times as 00:04.

The tower sees every frame by itself, padded to the budget; the padding is dropped behind it. The
encoder-free variant ("unified") has no tower: patches are k times as large and embedded at once.
Tokens run: frame, row, column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases.families import register_family
from pave.bases.families.grids import join_grids, split_grids
from pave.bases.family import Family
from pave.bases.preprocess import normalize, resize
from pave.bases.prompt import PromptStyle
from pave.bases.settings import BaseSettings
from pave.bases.visual import Clip, Layout, Visual
from pave.errors import BaseError

FRAME_TOKENS = 70  # of a frame of a video, at most; a picture may have 280

STYLE = PromptStyle(
    head="<bos><|turn>user\n\n\n",  # two line breaks belong to the clip
    after_video="\n\n",
    ask="<turn|>\n<|turn>model\n",
    end="<turn|>",
    again="\n<|turn>user\n",
)


@register_family
class Gemma4(Family):
    """See the module's text."""

    name = "gemma4"
    model_types = ("gemma4", "gemma4_unified")
    placeholder = "<|video|>"
    style = STYLE
    token_types = True  # the tokens of a frame see each other in both directions
    float_pixels = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if config.vision_config is None:
            raise BaseError(
                "this Gemma 4 checkpoint has no vision tower; choose one with `vision_config`"
            )

    @property
    def query_dim(self) -> int:
        """C_q; the encoder-free variant calls it otherwise."""
        tower = self.config.vision_config
        if self._unified:
            return int(tower.mm_embed_dim)
        return int(tower.hidden_size)

    @property
    def _unified(self) -> bool:
        return bool(self.config.model_type == "gemma4_unified")

    @property
    def _patches(self) -> tuple[int, int]:
        """Side of a patch in pixels, and patches along the side of a token."""
        tower = self.config.vision_config
        if self._unified:
            return tower.patch_size * tower.pooling_kernel_size, 1
        return tower.patch_size, tower.pooling_kernel_size

    def settings(self) -> BaseSettings:
        """32 frames of 70 tokens; pixels stay in 0..1, for the model scales them itself."""
        black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return BaseSettings(frames=32, max_video_tokens=FRAME_TOKENS, mean=black, std=white)

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize into the budget, patchify, pad; minutes and seconds before every frame."""
        side, pool = self._patches
        count, _, height, width = frames.shape
        most = settings.max_video_tokens or FRAME_TOKENS
        token = side * pool  # pixels along its side
        rows, columns = fit(height, width, token, most)
        pixels = normalize(resize(frames, (rows * token, columns * token)), settings)
        patches = patchify(pixels, side)  # [F, rows * columns * pool^2, side * side * 3]
        places = grid_places(rows * pool, columns * pool)
        padding = most * pool**2 - len(places)  # patches
        patches = F.pad(patches, (0, 0, 0, padding))
        places = F.pad(places, (0, 0, 0, padding), value=-1)  # how the model knows padding
        span = "<|image>" + self.placeholder * (rows * columns) + "<image|>"
        parts = []
        for time in times.tolist():
            second = int(time)  # cut off, not rounded, as the processor does
            parts.append(f"{second // 60:02d}:{second % 60:02d} {span}")
        inputs = {
            "pixel_values_videos": patches,
            "video_position_ids": places.expand(count, -1, -1).contiguous(),
            "num_frames_per_video": torch.tensor([count]),
        }
        return Clip(inputs, times, " ".join(parts), count)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """A tuple of `[F * S, D]`; query: what is projected, which is at the token grid already."""
        places = args["video_position_ids"]  # [frames of all clips, patches, 2]
        counts = args["num_frames_per_video"].tolist()
        pool = self._patches[1]
        layouts = []
        for own in places.split(counts):
            columns, rows = (own[0].amax(0) + 1).tolist()  # in patches; frames are of one size
            layouts.append(Layout(len(own), rows // pool, columns // pool))
        query = None
        if want_query:
            query = output.last_hidden_state
            if self._unified:  # the padding is still there
                query = query[(places != -1).all(-1)]
        return split_grids(output.pooler_output, layouts, query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip."""
        return join_grids(visuals, output)


def fit(height: int, width: int, token: int, most: int) -> tuple[int, int]:
    """Rows and columns of tokens: the largest grid of the frame's shape within a budget.

    Args:
        height: Of the frame.
        width: Of the frame.
        token: Pixels along the side of a token.
        most: Tokens of a frame.
    """
    # In pixels and in this order, or some shapes would round otherwise than the processor's.
    scale = math.sqrt(most * token**2 / (height * width))
    rows = math.floor(scale * height / token)
    columns = math.floor(scale * width / token)
    # A frame too narrow for the grid gets one row, or one column.
    if rows == 0:
        return 1, min(width // height, most)
    if columns == 0:
        return min(height // width, most), 1
    return rows, columns


def patchify(pixels: Tensor, side: int) -> Tensor:
    """`[F, 3, H, W]` -> `[F, patches, side * side * 3]`, row by row, colours innermost."""
    cut = pixels.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    # [F, 3, row, y, column, x] -> [F, row, column, y, x, 3]
    ordered: Tensor = cut.permute(0, 2, 4, 3, 5, 1)
    return ordered.flatten(3).flatten(1, 2).contiguous()


def grid_places(rows: int, columns: int) -> Tensor:
    """`[rows * columns, 2]`: column and row of every patch, row by row."""
    row = torch.arange(rows)
    column = torch.arange(columns)
    return torch.cartesian_prod(row, column).flip(1)
