"""`BaseSettings`: how a base wants its frames, by its family or by the files of the model's folder.

The preprocessor files of Hugging Face have come in several shapes over the years; `from_processor`
takes from each what `BaseSettings` has a word for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pave.bases.source import read_json, reading

# Means and deviations that the towers were trained with: red, green, blue on the 0..1 scale.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Pixels = Annotated[int, Field(ge=1)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Shift = Annotated[float, Field(allow_inf_nan=False)]

# The video file wins over the image file; the last one holds both in newer folders.
FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")


class BaseSettings(BaseModel):
    """How a base wants its frames.

    Read from the model folder where it says so, otherwise the family's defaults.
    """

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


def read_settings(source: str, defaults: BaseSettings) -> BaseSettings:
    """The preprocessor's configuration of a model folder or Hub id, laid over the defaults.

    Args:
        source: Folder or Hub id.
        defaults: What the family uses where the files are silent or absent.

    Raises:
        BaseError: If a file is damaged.
    """
    for name in FILES:
        found = read_json(source, name)
        inner = found.get("video_processor") or found.get("image_processor")
        if isinstance(inner, dict):
            found = inner
        # Newer processor files may hold nothing of pictures.
        if found.keys() & {"image_mean", "size", "min_pixels", "max_pixels"}:
            with reading(source, f"{name} is not the configuration of a preprocessor"):
                changed = from_processor(found, defaults)
                return BaseSettings.model_validate({**dict(defaults), **changed})
    return defaults


def from_processor(found: Mapping[str, Any], defaults: BaseSettings) -> dict[str, Any]:
    """Settings that a Hugging Face preprocessor configuration changes.

    Args:
        found: The parsed file.
        defaults: The family's settings. They tell what `size` means: a frame, an edge, or a budget
            of pixels, whose limits are then called shortest and longest edge.
    """
    changed: dict[str, Any] = {}
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
        if found.get(theirs):
            changed[ours] = tuple(float(value) for value in found[theirs])
    size = _size(found)
    if defaults.max_pixels is not None:
        changed |= _limits(found, size)
    elif "height" in size:
        changed["size"] = (int(size["height"]), int(size["width"]))
    elif defaults.shortest_edge is not None and "shortest_edge" in size:
        changed["shortest_edge"] = int(size["shortest_edge"])
    if defaults.longest_edge is not None:
        changed |= _longest_edges(found, size)
    crop = found.get("crop_size")
    if defaults.crop is not None and crop:
        sides = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        changed["crop"] = (int(sides["height"]), int(sides["width"]))
    if found.get("use_token_compression") is not None:
        changed["compress"] = defaults.compress and bool(found["use_token_compression"])
    return changed


def _size(found: Mapping[str, Any]) -> dict[str, Any]:
    """The file's `size`; SmolVLM has a second place for one, which loses against the first."""
    sampling = found.get("video_sampling") or {}
    size = found.get("size") or sampling.get("video_size") or {}
    if isinstance(size, int):  # older files: one number for a square
        return {"height": size, "width": size}
    return dict(size)


def _limits(found: Mapping[str, Any], size: Mapping[str, Any]) -> dict[str, int]:
    """The pixel budget."""
    # Newer files call it `size` and its ends edges, though both are numbers of pixels, not sides.
    limits = {
        "min_pixels": found.get("min_pixels") or size.get("shortest_edge"),
        "max_pixels": found.get("max_pixels") or size.get("longest_edge"),
    }
    return {key: int(value) for key, value in limits.items() if value}


def _longest_edges(found: Mapping[str, Any], size: Mapping[str, Any]) -> dict[str, Any]:
    """SmolVLM's two sizes: of the first resize, and of the square that follows."""
    edges: dict[str, Any] = {}
    if size.get("longest_edge"):
        edges["longest_edge"] = int(size["longest_edge"])
    square = (found.get("max_image_size") or {}).get("longest_edge")
    if square:
        edges["size"] = (int(square), int(square))
    return edges
