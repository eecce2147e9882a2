"""The `scene3d/llava3d` encoder: CLIP patches plus LLaVA-3D's embedding of where each patch lies.

Nothing is pooled over voxels yet. That is what the authors' files for ScanQA and SQA3D hold, `[1,
32 * 24 * 24, 1024]`, as far as their shape tells: the script that made them is not public.

Weights: the shards of ChaimZhu/LLaVA-3D-7B, or a file with the two parts that are needed; where
those hold no CLIP, name openai/clip-vit-large-patch14-336 as `clip`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from pave.cache import Source
from pave.channels.clip import ClipTower, build_clip, normalise
from pave.channels.registry import register_encoder
from pave.channels.scene3d.geometry import (
    backproject,
    fit_depth,
    fit_intrinsic,
    patch_points,
    resized,
)
from pave.channels.scene3d.scene import PosedFrame, open_scene
from pave.channels.weights import (
    best_device,
    device_of,
    find_weights,
    load_strictly,
    read_weights,
    weights_digest,
)
from pave.tokens import Tokens

# In LLaVA-3D's shards, and in CLIP's own checkpoint.
_CLIP = ("model.vision_tower.vision_tower.vision_model.", "vision_model.")
HEAD = "model.video_tower.video_tower.positional_embedding.position_embedding_head."
_SOURCE = "ChaimZhu/LLaVA-3D-7B"


class Llava3dSettings(BaseModel):
    """Settings of the LLaVA-3D encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(
        "LLaVA-3D-7B",
        description="Checkpoint file or folder: a path, or a name in the folder PAVE_WEIGHTS.",
    )
    clip: str | None = Field(
        None, description="The checkpoint of the CLIP tower, if it is a separate file."
    )
    heads: int = Field(
        16,
        ge=1,
        le=1024,
        description="Number of attention heads of CLIP, which the checkpoint does not record.",
    )
    frames: int = Field(32, ge=1, le=100_000, description="Frames, spread evenly over the scene.")


def position_head(tensors: dict[str, Tensor], where: str) -> nn.Sequential:
    """LLaVA-3D's position embedding of world coordinates: linear, norm, ReLU, linear.

    It takes raw metres, without any scaling.

    Args:
        tensors: Names `0.weight` to `3.bias`.
        where: The file, for messages.
    """
    width = len(tensors.get("0.bias", torch.zeros(1)))
    head = nn.Sequential(
        nn.Linear(3, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width)
    )
    load_strictly(head, tensors, where)
    return head


def clip_pixels(pixels: Tensor, side: int) -> Tensor:
    """A picture as CLIP wants it: shorter side at `side` (bicubic), centre, mean and deviation.

    Args:
        pixels: `[3, H, W]` uint8.
        side: Pixels of the result's sides.

    Returns:
        `[1, 3, side, side]` float32.
    """
    height, width = pixels.shape[-2:]
    wide, high = resized(width, height, side)
    small = F.interpolate(
        pixels[None].contiguous(), size=(high, wide), mode="bicubic", antialias=True
    )
    # Cut as CLIP's processor does: rounded down, where LanguageBind's rounds.
    top = (high - side) // 2
    left = (wide - side) // 2
    return normalise(small[..., top : top + side, left : left + side])


@register_encoder("scene3d", "llava3d", Llava3dSettings)
class Llava3dEncoder:
    """Tokens `[T, 24 * 24, 1024]` of posed frames, row by row, at the frames' times.

    The authors evaluate in bfloat16, which moves points by up to 2.6 cm; this is float32.
    """

    channel = "scene3d"
    name = "llava3d"

    def __init__(self, settings: Llava3dSettings) -> None:
        self._set = settings

    @cached_property
    def _tower(self) -> ClipTower:
        path = find_weights(self._set.clip or self._set.weights, "scene3d/llava3d", _SOURCE)
        tensors = read_weights(path, _CLIP)
        tower = build_clip(tensors, self._set.heads, quick_gelu=True, where=str(path))
        return tower.to(best_device())

    @cached_property
    def _head(self) -> nn.Sequential:
        path = find_weights(self._set.weights, "scene3d/llava3d", _SOURCE)
        return position_head(read_weights(path, [HEAD]), str(path)).to(best_device())

    @property
    def dim(self) -> int:
        """C, 1024 for the released weights."""
        return self._tower.shape.dim

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The settings with digests of the weights for their paths."""
        head = weights_digest(self._head.state_dict().items())
        clip = weights_digest(self._tower.state_dict().items())
        return {**self.settings, "weights": head, "clip": clip}

    def encode(self, source: Source) -> Tokens:
        """Tokens of a scene; see `pave.channels.scene3d.scene` for what a source may be."""
        scene = open_scene(source)
        values, times = [], []
        for index in scene.evenly(self._set.frames):
            frame = scene.read(index)
            values.append(self._encode(frame))
            times.append(frame.time)
        return Tokens(torch.cat(values), torch.from_numpy(np.array(times)))  # [T, S, C], [T]

    def _encode(self, frame: PosedFrame) -> Tensor:
        """`[1, S, C]` tokens of one frame."""
        shape = self._tower.shape
        side = round((shape.tokens - 1) ** 0.5) * shape.patch  # pixels
        height, width = frame.depth.shape
        # Fitted in float64, used in float32.
        fitted = fit_depth(frame.depth, side, scale=1.0)  # metres already
        depth = torch.from_numpy(fitted).to(torch.float32)  # [side, side]
        moved = fit_intrinsic(frame.intrinsic, width, height, side)
        intrinsic = torch.from_numpy(moved).to(torch.float32)  # [4, 4]
        pixels = clip_pixels(frame.pixels, side)  # [1, 3, side, side]
        return self.fuse(pixels, depth[None], intrinsic[None], frame.pose[None])

    @torch.inference_mode()
    def fuse(self, pixels: Tensor, depth: Tensor, intrinsics: Tensor, poses: Tensor) -> Tensor:
        """Patch features plus position embedding of preprocessed views.

        Args:
            pixels: `[V, 3, side, side]`, normalised.
            depth: `[V, side, side]` metres.
            intrinsics: `[V, 4, 4]`.
            poses: `[V, 4, 4]` camera to the upright world.

        Returns:
            `[V, h * w, C]`.
        """
        hidden = self._tower(pixels.to(device_of(self._tower)))[
            :, 1:
        ]  # [V, S, C], without class token
        grid = round(hidden.shape[1] ** 0.5)
        world = backproject(depth, intrinsics, poses)  # [V, side, side, 3] metres
        points = patch_points(world, (grid, grid))  # [V, grid, grid, 3]
        position = self._head(points.to(device_of(self._head))).flatten(1, 2)  # [V, S, C]
        found: Tensor = (hidden + position).cpu().clone()
        return found
