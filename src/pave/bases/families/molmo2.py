"""Molmo2: square frames, 3 x 3 patches a token, the second before each.

Visual tokens see each other, those of later frames too, so questions cannot be packed behind one
prefix by a mask that is causal. Tokens run: frame, row, column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases.families import register_family
from pave.bases.families.gemma4 import patchify
from pave.bases.families.grids import join_grids, split_grids, token_grids
from pave.bases.family import Family
from pave.bases.preprocess import normalize
from pave.bases.prompt import PromptStyle
from pave.bases.settings import HALF, BaseSettings
from pave.bases.visual import Clip, Layout, Visual
from pave.errors import ConfigError

POOL = 3  # patches along the side of a token of a video; of a picture, 2

STYLE = PromptStyle(
    head="<|im_start|>user\n",
    after_video="",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)


@register_family
class Molmo2(Family):
    """See the module's text."""

    name = "molmo2"
    model_types = ("molmo2",)
    placeholder = "<im_patch>"
    video_text = "<|video|>"
    style = STYLE
    token_types = True
    both_ways = True
    opens_with_bos = True
    resample = 2  # bilinear

    def settings(self) -> BaseSettings:
        """32 frames squared to the tower's image size."""
        height, width = self.config.vision_config.image_size
        return BaseSettings(frames=32, size=(height, width), mean=HALF, std=HALF)

    def types_of(self, ids: Tensor) -> Tensor:
        """1 where a token is visual or opens or closes a frame: these see each other."""
        frame = (self.config.frame_start_token_id, self.config.frame_end_token_id)
        visual = torch.tensor([self.config.image_patch_id, *frame])
        return torch.isin(ids, visual).int()

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize, normalise, patchify; which patches make a token; seconds before every frame."""
        side = self.config.vision_config.patch_size
        square = squeezed(frames, settings.size)  # [F, 3, H, W]
        patches = patchify(normalize(square, settings), side)
        count, each = patches.shape[:2]
        height, width = square.shape[-2:]
        pools, rows, columns = pooled_patches(height // side, width // side)
        # Where each frame begins among all patches.
        starts = torch.arange(count) * each
        starts = starts[:, None, None]  # [F, 1, 1]
        pools = torch.where(pools >= 0, pools + starts, pools)  # [F, S, POOL^2]
        places = self.placeholder * (rows * columns)
        span = f"<frame_start>{places}<frame_end>"
        parts = [f"{second:.1f} {span}" for second in times.tolist()]
        inputs = {
            "pixel_values_videos": patches,
            "video_token_pooling": pools.flatten(0, 1),
            "video_grids": torch.tensor([[count, rows, columns]]),
        }
        return Clip(inputs, times, " ".join(parts), count)

    def behind(self, key: str, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Patches that make a token are counted through all clips of a batch."""
        if key != "video_token_pooling":
            return list(tensors)
        shifted = []
        start = 0
        for pools in tensors:
            shifted.append(torch.where(pools >= 0, pools + start, pools))
            start += int(pools.max()) + 1  # every patch is in some token
        return shifted

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """A tuple of `[F * S, D]`; query: the mean of a token's patches in the tower's output."""
        layouts: list[Layout] = token_grids(args["video_grids"], 1)
        query = None
        if want_query:
            patches = output.last_hidden_state.flatten(0, 1)  # of all frames
            query = means_of(patches, args["video_token_pooling"])
        return split_grids(output.pooler_output, layouts, query)

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A tuple with one tensor a clip."""
        return join_grids(visuals, output)


def squeezed(frames: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Bilinear without antialiasing, in float32 and rounded back to uint8: its processor's way."""
    if size is None:
        raise ConfigError("the base's settings name no frame size; set `size` to (height, width)")
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    grey = frames.float()
    resized = F.interpolate(grey, size=size, mode="bilinear", antialias=False)
    rounded = resized.round().clamp(0, 255)
    return rounded.to(torch.uint8)


def pooled_patches(height: int, width: int) -> tuple[Tensor, int, int]:
    """`[S, POOL^2]` numbers of the patches that make each token, -1 for none; rows and columns."""
    numbers = torch.arange(height * width)
    grid = numbers.unflatten(0, (height, width))
    # Patches that are missing.
    tall = -height % POOL
    wide = -width % POOL
    # Half of them on either side, the odd one behind.
    across = (wide // 2, (wide + 1) // 2)
    down = (tall // 2, (tall + 1) // 2)
    grid = F.pad(grid, (*across, *down), value=-1)
    # [rows, POOL, columns, POOL]
    blocks = grid.unflatten(1, (-1, POOL)).unflatten(0, (-1, POOL))
    rows, columns = blocks.shape[0], blocks.shape[2]
    cells = blocks.transpose(1, 2).flatten(2)  # [rows, columns, POOL^2]
    return cells.flatten(0, 1), rows, columns


def means_of(patches: Tensor, pools: Tensor) -> Tensor:
    """`[tokens, C]`: the mean of the patches that make each token.

    Args:
        patches: `[patches of all frames, C]`.
        pools: `[tokens, POOL^2]` their numbers, -1 for none.
    """
    there = (pools >= 0).to(patches.dtype)
    weights = there[..., None]  # [tokens, POOL^2, 1]
    own = patches[pools.clamp(min=0)] * weights  # [tokens, POOL^2, C]
    counts = weights.sum(1).clamp(min=1)
    means: Tensor = own.sum(1) / counts
    return means
