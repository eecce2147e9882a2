"""The `frames/languagebind` encoder: LanguageBind's video tower at 2 frames a second.

The authors' released video patches were trained on it.

Source: PAVE's `tools/enhanced_video/extract_languagebind_feature.py` on the `languagebind/video`
package of Video-LLaVA. Weights: LanguageBind/LanguageBind_Video_merge (MIT), given as a local file;
the vision tower in Video-LLaVA-7B's shards has the same tensors under another prefix. The port of
Video-LLaVA in transformers lacks the attention over time and cannot serve.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from pave.cache import Source
from pave.channels.clip import ClipTower, build_clip, normalise
from pave.channels.encoder import MOST_FRAMES, one_path
from pave.channels.registry import register_encoder
from pave.channels.weights import (
    best_device,
    device_of,
    find_weights,
    read_weights,
    weights_digest,
)
from pave.media import Uniform, frame_rate, frame_times, stream_frames
from pave.tokens import Tokens

GROUP = 8  # frames that attend each other in time
SIDE = 224  # pixels
# In LanguageBind's own checkpoint, and in Video-LLaVA's.
_PREFIXES = ("vision_model.", "model.video_tower.video_tower.")
_SOURCE = "LanguageBind/LanguageBind_Video_merge"


class LanguageBindSettings(BaseModel):
    """Settings of the LanguageBind encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(
        "LanguageBind_Video_merge",
        description="Checkpoint file or folder: a path, or a name in the folder PAVE_WEIGHTS.",
    )
    heads: int = Field(
        16,
        ge=1,
        le=1024,
        description="Number of attention heads, which the checkpoint does not record.",
    )
    min_frames: int | None = Field(
        None,
        ge=1,
        le=MOST_FRAMES,
        description="Number of frames that short clips are sampled to, before they are cut into "
        "groups of eight.",
    )


def frame_count(frames: int, fps: float, min_frames: int | None = None) -> int:
    """How many frames the authors sample: two a second, in whole groups of eight, at least one.

    Args:
        frames: Frames of the video.
        fps: Its rate.
        min_frames: Their `min_frame_num`; 30 gives 24, because the cut to groups comes after it.

    Example:
        >>> frame_count(240, 30.0), frame_count(450, 30.0, 30)
        (16, 24)
    """
    target = frames / fps * 2  # not a whole number
    if min_frames is not None and target < min_frames:
        target = min_frames
    return int(max(1, target // GROUP) * GROUP)


def preprocess(pixels: Tensor, side: int = SIDE) -> Tensor:
    """The authors' transform: normalise, resize (bilinear, no antialiasing), cut the centre.

    Args:
        pixels: `[F, 3, H, W]` uint8.
        side: Pixels of the result's sides.

    Returns:
        `[F, 3, side, side]` float32.
    """
    height, width = pixels.shape[-2:]
    short = min(height, width)
    # The shorter side becomes `side`, the longer one is rounded down.
    if height <= width:
        size = (side, int(width / short * side))
    else:
        size = (int(height / short * side), side)
    resized = F.interpolate(normalise(pixels), size=size, mode="bilinear", align_corners=False)
    top = round((size[0] - side) / 2.0)  # half to even, as torchvision cuts
    left = round((size[1] - side) / 2.0)
    return resized[..., top : top + side, left : left + side]


def pool_quadrants(hidden: Tensor) -> Tensor:
    """`[n, 1 + g * g, C]` -> `[n, 5, C]`: the class token, then the means of the four quadrants."""
    grid = round((hidden.shape[1] - 1) ** 0.5)
    patches = hidden[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))  # [n, C, g, g]
    quadrants = F.adaptive_avg_pool2d(patches, 2)  # [n, C, 2, 2]
    return torch.cat([hidden[:, :1], quadrants.flatten(2).transpose(1, 2)], 1)


@register_encoder("frames", "languagebind", LanguageBindSettings)
class LanguageBindEncoder:
    """Tokens `[T, 4, 1024]`: each sampled frame's four quadrants, at the frame's time.

    The class token is dropped. Groups of eight frames are decoded and encoded one after another.
    Clips of less than 4 s are one group.
    """

    channel = "frames"
    name = "languagebind"

    def __init__(self, settings: LanguageBindSettings) -> None:
        self._set = settings

    @cached_property
    def _tower(self) -> ClipTower:
        path = find_weights(self._set.weights, "frames/languagebind", _SOURCE)
        tensors = read_weights(path, _PREFIXES)
        tower = build_clip(tensors, self._set.heads, quick_gelu=False, where=str(path))
        return tower.to(best_device())

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
        """The settings with a digest of the weights for their path."""
        return {**self.settings, "weights": weights_digest(self._tower.state_dict().items())}

    def encode(self, source: Source) -> Tokens:
        """Tokens of a video file or a folder of frames (taken as one frame a second)."""
        path = one_path(source, "frames/languagebind")
        count = frame_count(len(frame_times(path)), _rate(path), self._set.min_frames)
        values, times = [], []
        for frames in stream_frames(path, Uniform(count), GROUP):
            values.append(self.encode_group(frames.pixels)[:, 1:])  # [8, 4, C]
            times.append(frames.times)
        return Tokens(torch.cat(values), torch.cat(times))

    @torch.inference_mode()
    def encode_group(self, pixels: Tensor) -> Tensor:
        """Frames `[8, 3, H, W]` uint8 -> `[8, 5, C]`, class token first as in their files."""
        shape = self._tower.shape
        grid = round((shape.tokens - 1) ** 0.5)  # patches along a side, without the class token
        frames = preprocess(pixels, grid * shape.patch).to(device_of(self._tower))
        hidden = self._tower(frames)  # [8, 1 + grid * grid, C]
        return pool_quadrants(hidden).cpu().clone()


def _rate(path: Path) -> float:
    """Average frames per second."""
    if path.is_dir():
        return 1.0  # a folder of pictures counts as one a second
    return frame_rate(path) or 1.0
