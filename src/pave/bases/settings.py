"""`BaseSettings`: how a base wants its frames, by its family or by the files of the model's folder.

The preprocessor files of Hugging Face have come in several shapes over the years; `from_processor`
takes from each what `BaseSettings` has a word for.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pave.bases.source import read_json, reading
from pave.bases.unfollowed import unfollowed
from pave.errors import BaseError

logger = logging.getLogger(__name__)

# Means and deviations that the towers were trained with: red, green, blue on the 0..1 scale.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Pixels = Annotated[int, Field(ge=1)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Shift = Annotated[float, Field(allow_inf_nan=False)]

VIDEO_FILE, IMAGE_FILE, BOTH_FILE = FILES = (
    "video_preprocessor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)

PHOTO_PIXELS = 12_845_056
"""Most pixels of a photo in Qwen2-VL's files, 16,384 tokens; a frame of a video has 768."""

BUDGET = ("min_pixels", "max_pixels", "cap_pixels_per_frame", "max_video_tokens")
"""The fields of `BaseSettings` that say how many pixels a clip may have."""


class BaseSettings(BaseModel):
    """How a base wants its frames.

    Read from the model folder where it says so, otherwise the family's defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: int = Field(
        32,
        ge=1,
        description="Number of frames sampled evenly from a video, unless a call asks "
        "for another number.",
    )
    size: tuple[Pixels, Pixels] | None = Field(
        None, description="Height and width every frame is resized to."
    )
    shortest_edge: int | None = Field(
        None, ge=1, description="Resize so that the shorter side has this number of pixels."
    )
    crop: tuple[Pixels, Pixels] | None = Field(
        None, description="Height and width cut from the centre after resizing."
    )
    longest_edge: int | None = Field(
        None,
        ge=1,
        description="Resize the longer side to this number of pixels before padding to the square "
        "`size`.",
    )
    min_pixels: int | None = Field(
        None, ge=1, description="Fewest pixels of a frame or clip (Qwen families)."
    )
    max_pixels: int | None = Field(
        None, ge=1, description="Most pixels of a frame or clip (Qwen families)."
    )
    # These two, and `tenths`, are left out of what is written, and so of keys, where they say
    # nothing.
    cap_pixels_per_frame: bool = Field(
        False,
        exclude_if=operator.not_,
        description="Limit the pixels of a frame by `max_video_tokens`, too (Qwen families).",
    )
    max_video_tokens: int | None = Field(
        None,
        ge=1,
        exclude_if=operator.not_,
        description="Number of tokens for that limit: of a context, of which a clip gets 90 % "
        "(Qwen2-VL and 2.5), or of a frame (Qwen3-VL, Gemma 4). By default the "
        "family's number.",
    )
    compress: bool = Field(
        False,
        description="Drop tokens whose patch hardly changed since the previous frame "
        "(VideoLLaMA3).",
    )
    tenths: bool = Field(
        False,
        exclude_if=operator.not_,
        description="Write timestamps in tenths of a second instead of whole seconds (GLM-4.6V).",
    )
    mean: tuple[Shift, Shift, Shift] = Field(
        HALF, description="Per-channel mean on the 0..1 scale."
    )
    std: tuple[Spread, Spread, Spread] = Field(
        HALF, description="Per-channel standard deviation on the 0..1 scale."
    )


def read_settings(
    source: str,
    defaults: BaseSettings,
    *,
    fixed_budget: bool = False,
    old_limits: bool = True,
    resample: int | None = None,
) -> BaseSettings:
    """The preprocessor's configuration of a model folder or Hub id, laid over the defaults.

    Args:
        source: Folder or Hub id.
        defaults: What the family uses where the files are silent or absent.
        fixed_budget: Whether its processor bounds the pixels of frames by itself, so that the
            files' limits do not count.
        old_limits: Whether its processor reads `min_pixels` and `max_pixels` beside `size`.
        resample: The number of the filter that its processor resizes with, as Pillow counts them.

    Raises:
        BaseError: If a file is damaged, or asks videos to be prepared as pave does not do.
    """
    for name, found, of_video in _found(source):
        # Newer processor files may hold nothing of pictures.
        if not of_video and not found.keys() & {"image_mean", "size", "min_pixels", "max_pixels"}:
            continue
        with reading(source, f"{name} is not a preprocessor configuration"):
            if of_video and not (old_limits or fixed_budget):
                found = _without_old_limits(found, f"{source}: {name}")
            if asked := unfollowed(found, defaults, resample):
                _tell_unfollowed(asked, f"{source}: {name}", of_video)
            changed = from_processor(found, defaults)
            if not of_video:
                _leave_image_limits(source, changed, defaults)
            elif not fixed_budget:
                _tell_photo_limits(changed, defaults, f"{source}: {name}")
            else:
                # What `save_pretrained` writes there is never used again.
                for limit in ("min_pixels", "max_pixels"):
                    changed.pop(limit, None)
            return BaseSettings.model_validate({**dict(defaults), **changed})
    return defaults


def _without_old_limits(found: dict[str, Any], where: str) -> dict[str, Any]:
    """A file without the words for limits that its processor does not read."""
    old = {key for key in ("min_pixels", "max_pixels") if found.get(key) is not None}
    if old:
        logger.warning(
            "%s: %s: the model's own processor reads the limits from `size` alone, and so does "
            "pave",
            where,
            ", ".join(sorted(old)),
        )
    return {key: value for key, value in found.items() if key not in old}


def _tell_unfollowed(asked: list[str], where: str, of_video: bool) -> None:
    """Refuse what a video processor's file asks for; a file of pictures may mean pictures alone."""
    said = f"{where} asks for {', '.join(asked)}, which pave does not support"
    if not of_video:
        logger.warning("%s; frames are prepared as by the family's own processor", said)
        return
    raise BaseError(
        f"{said}; correct the file, or pass the settings yourself: load_base(..., "
        "settings=BaseSettings(...))"
    )


def _found(source: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Name, content, and whether it is of videos: in the order in which transformers looks."""
    both = read_json(source, BOTH_FILE)
    if isinstance(both.get("video_processor"), dict):
        yield BOTH_FILE, both["video_processor"], True
    if found := read_json(source, VIDEO_FILE):
        yield VIDEO_FILE, found, True
    yield IMAGE_FILE, read_json(source, IMAGE_FILE), False
    # Not looked at by transformers' video processors, but better than nothing.
    inner = both.get("image_processor")
    yield BOTH_FILE, inner if isinstance(inner, dict) else both, False


def video_file(source: str) -> tuple[str, dict[str, Any]]:
    """Name and content of the file that transformers reads a video processor from.

    Raises:
        BaseError: If it is damaged.
    """
    name, found, _ = next(_found(source))
    return name, found


def _leave_image_limits(source: str, changed: dict[str, Any], defaults: BaseSettings) -> None:
    """Take the budget of a photo out again: it is a large one, and a clip has many frames."""
    if defaults.max_pixels is None and defaults.max_video_tokens is None:
        return
    theirs = {name: changed.pop(name) for name in BUDGET if name in changed}
    own = {name: getattr(defaults, name) for name in theirs}
    logger.info("%s: its limits %s are for images; videos get %s", source, theirs, own)


def _tell_photo_limits(changed: Mapping[str, Any], defaults: BaseSettings, where: str) -> None:
    """Warn of the limits of photos in a file of videos, which counts nevertheless.

    transformers writes them there when somebody saves the processor of a folder that had limits of
    photos alone (Qwen2-VL's and 2.5's), as most programs for fine-tuning do.
    """
    capped = defaults.cap_pixels_per_frame and not changed.get("cap_pixels_per_frame")
    if capped and changed.get("max_pixels", 0) >= PHOTO_PIXELS:
        logger.warning(
            "%s gives frames of a video the limit of photos, %s pixels, so large videos make "
            "long prompts; for the limits of videos take size, min_pixels and max_pixels out of it",
            where,
            f"{changed['max_pixels']:,}",
        )


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
            changed[ours] = _three(found[theirs])
    if found.get("do_normalize") is False:  # rescaled to 0..1 alone
        changed["mean"] = (0.0, 0.0, 0.0)
        changed["std"] = (1.0, 1.0, 1.0)
    size = _size(found)
    changed |= _frame_size(found, size, defaults)
    if defaults.longest_edge is not None:
        changed |= _longest_edges(found, size)
    crop = found.get("crop_size")
    if defaults.crop is not None and crop:
        sides = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        changed["crop"] = (int(sides["height"]), int(sides["width"]))
    # Checkpoints of GLM-4.6V may have the model type of GLM-4.1V or 4.5V; their processor tells.
    if "Glm46V" in f"{found.get('processor_class')} {found.get('video_processor_type')}":
        changed["tenths"] = True
    if found.get("use_token_compression") is not None:
        changed["compress"] = defaults.compress and bool(found["use_token_compression"])
    return changed


def _three(value: Any) -> tuple[float, ...]:
    """A number for each colour; one number is that of all three."""
    if isinstance(value, int | float):
        value = [value] * 3
    return tuple(map(float, value))


def _size(found: Mapping[str, Any]) -> dict[str, Any]:
    """The file's `size`; SmolVLM has a second place for one, which loses against the first."""
    sampling = found.get("video_sampling") or {}
    size = found.get("size") or sampling.get("video_size") or {}
    if isinstance(size, int):  # older files: one number for a square
        return {"height": size, "width": size}
    return dict(size)


def _frame_size(
    found: Mapping[str, Any], size: Mapping[str, Any], defaults: BaseSettings
) -> dict[str, Any]:
    """What the file says of the size of frames, in the terms of the family."""
    if defaults.max_pixels is not None:
        return _limits(found, size)
    if defaults.max_video_tokens is not None:  # a budget of tokens alone
        if found.get("max_soft_tokens"):
            return {"max_video_tokens": int(found["max_soft_tokens"])}
        return {}
    edge = size.get("shortest_edge")
    if isinstance(found.get("size"), int):  # one number
        edge = found["size"]
    if defaults.shortest_edge is not None and edge:
        return {"shortest_edge": int(edge)}
    if size.get("height"):
        return {"size": (int(size["height"]), int(size["width"]))}
    return {}


def _limits(found: Mapping[str, Any], size: Mapping[str, Any]) -> dict[str, Any]:
    """The pixel budget."""
    if found.get("scale_resolution"):
        # MiniCPM-V's only limit: the side of a square with as many pixels as a frame.
        return {"max_pixels": int(found["scale_resolution"]) ** 2}
    # Newer files call it `size` and its ends edges, though both are numbers of pixels, not sides.
    limits = {
        "min_pixels": found.get("min_pixels") or size.get("shortest_edge"),
        "max_pixels": found.get("max_pixels") or size.get("longest_edge"),
        "max_video_tokens": found.get("max_video_tokens"),
    }
    given: dict[str, Any] = {key: int(value) for key, value in limits.items() if value}
    # As transformers' video processors: no cap unless the file asks for it.
    given["cap_pixels_per_frame"] = bool(found.get("cap_pixels_per_frame"))
    return given


def _longest_edges(found: Mapping[str, Any], size: Mapping[str, Any]) -> dict[str, Any]:
    """SmolVLM's two sizes: of the first resize, and of the square that follows."""
    edges: dict[str, Any] = {}
    if size.get("longest_edge"):
        edges["longest_edge"] = int(size["longest_edge"])
    square = (found.get("max_image_size") or {}).get("longest_edge")
    if square:
        edges["size"] = (int(square), int(square))
    return edges
