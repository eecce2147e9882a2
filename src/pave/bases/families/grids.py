"""Shared by the families whose tower takes a flat list of patches with a (t, h, w) grid a clip: Qwen2/2.5/3-VL, VideoLLaMA3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pave.bases.families.common import container
from pave.bases.preprocess import BaseSettings, normalize, resize
from pave.bases.visual import Layout, Visual


def patchify(pixels: Tensor, patch: int, merge: int, step: int) -> tuple[Tensor, Tensor]:
    """Cut frames into patches, the patches of one merge block side by side; a last incomplete step repeats its frame.

    Args:
        pixels: `[F, 3, H, W]` normalised, sides divisible by `patch * merge`.
        patch: Side of a patch in pixels.
        merge: Patches along one side of a merge block.
        step: Frames merged into one token step.

    Returns:
        `[t * h * w, 3 * step * patch * patch]` patches and the grid `[1, 3]` (t, h, w) in patches.
    """
    missing = -pixels.shape[0] % step
    pixels = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)])
    frames, channels, height, width = pixels.shape
    t, h, w = frames // step, height // patch, width // patch
    blocks = pixels.reshape(t, step, channels, h // merge, merge, patch, w // merge, merge, patch)
    flat = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(
        t * h * w, channels * step * patch * patch
    )
    return flat.contiguous(), torch.tensor([[t, h, w]])


def cut(
    frames: Tensor, size: tuple[int, int], settings: BaseSettings, patch: int, merge: int, step: int
) -> dict[str, Tensor]:
    """Resize, normalise and patchify: the pixel arguments of one clip."""
    patches, grid = patchify(normalize(resize(frames, size), settings), patch, merge, step)
    return {"pixel_values_videos": patches, "video_grid_thw": grid}


def layouts(grids: Tensor, merges: Sequence[int]) -> list[Layout]:
    """Token layout of every clip: the patch grid divided by the merge block."""
    return [Layout(t, h // m, w // m) for (t, h, w), m in zip(grids.tolist(), merges, strict=True)]


def block_means(hidden: Tensor, merge: int) -> Tensor:
    """Tower tokens in merge-block order `[patches, C]` -> mean of each block `[patches / merge^2, C]`, the token grid."""
    return hidden.reshape(-1, merge * merge, hidden.shape[-1]).mean(1)


def split_grids(
    tokens: Sequence[Tensor],
    grids: Sequence[Layout],
    query: Tensor | None,
    extra: Sequence[tuple[Tensor, ...]] | None = None,
) -> list[Visual]:
    """One `Visual` a clip from the family's tuple of tokens and the flat query of the whole batch."""
    sizes = [layout.total for layout in grids]
    flat: Sequence[Tensor | None] = [None] * len(grids) if query is None else query.split(sizes)
    return [
        Visual(
            clip,
            layout,
            None if part is None else part.unflatten(0, (layout.t, layout.spatial)),
            extra[number] if extra else (),
        )
        for number, (clip, layout, part) in enumerate(zip(tokens, grids, flat, strict=True))
    ]


def join_grids(config: Any, visuals: Sequence[Visual], output: Any | None) -> Any:
    """The families' own container: a tuple with one tensor a clip."""
    return container(output, tuple(visual.tokens for visual in visuals))


def pixel_limits(settings: BaseSettings, low: int, high: int) -> tuple[int, int]:
    """Pixel limits of the settings, or the family's own."""
    return settings.min_pixels or low, settings.max_pixels or high


def grid_merges(config: Any, args: Mapping[str, Any]) -> list[int]:
    """The merge block's side for every clip of a call."""
    return [int(config.vision_config.spatial_merge_size)] * len(args["video_grid_thw"])
