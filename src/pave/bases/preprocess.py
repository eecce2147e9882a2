"""Frames to pixels with torch alone, equal to Hugging Face's video processors (which need torchvision)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from pave.bases.source import reading
from pave.errors import BaseError, ConfigError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Pixels = Annotated[int, Field(ge=1)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Shift = Annotated[float, Field(allow_inf_nan=False)]

SETTINGS_FILES = (
    "video_preprocessor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)


class BaseSettings(BaseModel):
    """How a base wants its frames. Read from the model folder where it says so, otherwise the family's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: int = Field(
        32, ge=1, description="Frames sampled evenly from a video unless the caller asks otherwise."
    )
    size: tuple[Pixels, Pixels] | None = Field(
        None, description="Height and width every frame is resized to."
    )
    shortest_edge: int | None = Field(
        None, ge=1, description="Resize so that the shorter edge has this many pixels."
    )
    crop: tuple[Pixels, Pixels] | None = Field(
        None, description="Height and width cut from the centre after resizing."
    )
    longest_edge: int | None = Field(
        None, ge=1, description="Resize the longer edge to this before squaring to `size`."
    )
    min_pixels: int | None = Field(
        None, ge=1, description="Fewest pixels of a frame or clip (Qwen families)."
    )
    max_pixels: int | None = Field(
        None, ge=1, description="Most pixels of a frame or clip (Qwen families)."
    )
    compress: bool = Field(
        False,
        description="Drop tokens whose patch hardly changed since the frame before (VideoLLaMA3).",
    )
    mean: tuple[Shift, Shift, Shift] = Field(
        HALF, description="Per-channel mean on the 0..1 scale."
    )
    std: tuple[Spread, Spread, Spread] = Field(
        HALF, description="Per-channel standard deviation on the 0..1 scale."
    )

    def frame_size(self) -> tuple[int, int]:
        """`size`, for families that need it.

        Raises:
            ConfigError: If it is not set.
        """
        if self.size is None:
            raise ConfigError(
                "the base's settings name no frame size; set `size` to (height, width)"
            )
        return self.size


def resize(frames: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Antialiased, on uint8: what torchvision does, to the last bit.

    Args:
        frames: `[F, 3, H, W]` uint8.
        size: Height and width wanted.
        mode: "bicubic" or "lanczos"; before torch 2.13 Lanczos is approximated by bicubic, as
            Hugging Face does.

    Returns:
        `[F, 3, height, width]` uint8.
    """
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    if mode == "lanczos" and torch.__version__ < "2.13":  # compares versions, not letters
        mode = "bicubic"
    return F.interpolate(frames, size=size, mode=mode, antialias=True)


def resize_pillow(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic as Pillow does it, to the last bit: first along the width, then along the height, in fixed-point numbers.

    LLaVA's own code resizes with Pillow; `resize` differs from it by a grey level or two.

    Args:
        frames: `[F, 3, H, W]` uint8.
        size: Height and width wanted.

    Returns:
        `[F, 3, height, width]` uint8.
    """
    for axis, wanted in ((3, size[1]), (2, size[0])):
        if frames.shape[axis] != wanted:
            weights = _pillow_weights(frames.shape[axis], wanted)
            summed = torch.stack(
                [frame.double().movedim(axis - 1, -1) @ weights.T for frame in frames]
            )
            rounded = ((summed + (1 << 21)) / (1 << 22)).floor().clamp(0, 255).to(torch.uint8)
            frames = rounded.movedim(-1, axis)
    return frames.contiguous()


def _pillow_weights(have: int, want: int) -> Tensor:
    """`[want, have]` integers: Pillow's bicubic filter (a = -0.5, widened when shrinking) times 2^22, halves away from 0."""
    scale = have / want
    stretch = max(scale, 1.0)
    centre = (torch.arange(want, dtype=torch.float64) + 0.5) * scale
    first = (centre - 2 * stretch + 0.5).long().clamp(min=0)
    last = (centre + 2 * stretch + 0.5).long().clamp(max=have)
    pixel = torch.arange(have)
    x = ((pixel + 0.5 - centre[:, None]) / stretch).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    weights = weights.where((pixel >= first[:, None]) & (pixel < last[:, None]), 0.0)
    weights = weights / weights.sum(1, keepdim=True) * (1 << 22)
    return (weights.abs() + 0.5).floor() * weights.sign()


def shortest_edge(frames: Tensor, edge: int) -> tuple[int, int]:
    """Height and width with the shorter edge at `edge`, the aspect ratio kept."""
    height, width = frames.shape[-2:]
    return (
        (edge, int(edge * width / height))
        if height <= width
        else (int(edge * height / width), edge)
    )


def center_crop(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut `size` from the centre of frames that are at least as large."""
    top, left = (
        round((have - want) / 2) for have, want in zip(frames.shape[-2:], size, strict=True)
    )
    return frames[..., top : top + size[0], left : left + size[1]]


def normalize(frames: Tensor, settings: BaseSettings) -> Tensor:
    """uint8 `[F, 3, H, W]` -> float32, rescaled and normalised in one step (the fused order of Hugging Face)."""
    mean = torch.tensor(settings.mean) * 255.0
    std = torch.tensor(settings.std) * 255.0
    return (frames.to(torch.float32) - mean[:, None, None]) / std[:, None, None]


def merge_times(times: Tensor, step: int) -> Tensor:
    """Times of token steps that each merge `step` frames: the mean of the first and the last one, the last frame repeated.

    Args:
        times: `[F]` seconds.
        step: Frames per token step.

    Returns:
        `[ceil(F / step)]` float64 seconds.

    Example:
        >>> merge_times(torch.tensor([0.0, 1.0, 2.0]), 2).tolist()
        [0.5, 2.0]
    """
    times = times.to(torch.float64)
    missing = -len(times) % step
    padded = torch.cat([times, times[-1:].expand(missing)]).reshape(-1, step)
    return (padded[:, 0] + padded[:, -1]) / 2


def read_settings(source: str, defaults: BaseSettings) -> BaseSettings:
    """The preprocessor's configuration of a model folder or Hub id, laid over the family's defaults.

    Args:
        source: Folder or Hub id.
        defaults: What the family uses where the files are silent or absent.

    Returns:
        Settings; the video preprocessor's file wins over the image preprocessor's.

    Raises:
        BaseError: If a file is damaged.
    """
    for name in SETTINGS_FILES:
        found = read_json(source, name)
        inner = found.get("video_processor") or found.get("image_processor")
        found = inner if isinstance(inner, dict) else found
        if found.keys() & {"image_mean", "size", "min_pixels", "max_pixels"}:
            with reading(source, f"{name} is not the configuration of a preprocessor"):
                return BaseSettings.model_validate(
                    {**dict(defaults), **from_processor(found, defaults)}
                )
    return defaults


def read_json(source: str, name: str) -> dict[str, Any]:
    """A JSON file of a model folder or Hub id; empty where there is none.

    Raises:
        BaseError: If it cannot be fetched, or is no JSON object.
    """
    from transformers.utils import cached_file

    with reading(source, f"{name} cannot be fetched"):
        path = cached_file(
            source,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    if path is None:
        return {}
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BaseError(f"{path}: is no valid JSON ({error}); download the model again") from error
    if not isinstance(found, dict):
        raise BaseError(
            f"{path}: must hold a JSON object, got {type(found).__name__}; download the model again"
        )
    return found


def from_processor(found: Mapping[str, Any], defaults: BaseSettings) -> dict[str, Any]:
    """Settings that a Hugging Face preprocessor configuration changes.

    Args:
        found: The parsed file.
        defaults: The family's settings; they tell whether `size` means a frame, an edge or a pixel
            budget.
    """
    changed: dict[str, Any] = {}
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
        if found.get(theirs):
            changed[ours] = tuple(float(value) for value in found[theirs])
    sampling = (
        found.get("video_sampling") or {}
    )  # SmolVLM's second place for a size; `size` wins there too
    size = found.get("size") or sampling.get("video_size") or {}
    size = {"height": size, "width": size} if isinstance(size, int) else dict(size)
    if defaults.max_pixels is not None:
        low, high = (
            found.get("min_pixels") or size.get("shortest_edge"),
            found.get("max_pixels") or size.get("longest_edge"),
        )
        changed |= {
            key: int(value) for key, value in (("min_pixels", low), ("max_pixels", high)) if value
        }
    elif "height" in size:
        changed["size"] = (int(size["height"]), int(size["width"]))
    elif defaults.shortest_edge is not None and "shortest_edge" in size:
        changed["shortest_edge"] = int(size["shortest_edge"])
    return changed | _edges(found, size, defaults)


def _edges(
    found: Mapping[str, Any], size: Mapping[str, Any], defaults: BaseSettings
) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    square = (found.get("max_image_size") or {}).get("longest_edge")
    if defaults.longest_edge is not None and size.get("longest_edge"):
        changed["longest_edge"] = int(size["longest_edge"])
    if defaults.longest_edge is not None and square:
        changed["size"] = (int(square), int(square))
    crop = found.get("crop_size")
    if defaults.crop is not None and crop:
        changed["crop"] = (
            (crop, crop) if isinstance(crop, int) else (int(crop["height"]), int(crop["width"]))
        )
    if found.get("use_token_compression") is not None:
        changed["compress"] = defaults.compress and bool(found["use_token_compression"])
    return changed


def smart_resize(height: int, width: int, factor: int, low: int, high: int) -> tuple[int, int]:
    """Sides divisible by `factor` whose product lies in `low..high`, the aspect ratio nearly kept (Qwen2-VL's rule).

    Raises:
        BaseError: If one side is over 200 times the other.
    """
    check_aspect(height, width)
    h, w = round(height / factor) * factor, round(width / factor) * factor
    if h * w > high:
        beta = math.sqrt(height * width / high)
        h = max(factor, math.floor(height / beta / factor) * factor)
        w = max(factor, math.floor(width / beta / factor) * factor)
    elif h * w < low:
        beta = math.sqrt(low / (height * width))
        h, w = math.ceil(height * beta / factor) * factor, math.ceil(width * beta / factor) * factor
    return h, w


def check_aspect(height: int, width: int) -> None:
    """Refuse frames that the Qwen families refuse.

    Raises:
        BaseError: If one side is over 200 times the other.
    """
    if max(height, width) > 200 * min(height, width):
        raise BaseError(
            f"frames of {height} x {width} are too narrow: one side is over 200 times the other"
        )
