"""Single pictures: each family's own way to see one, which is not that of a frame of a video.

Families cut a picture into tiles, or see it in more pixels than a frame, and write other text for
it. transformers' image processor of the base's folder prepares it, the model's
`get_image_features` sees it, and this file knows what is written for it in the prompt.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pave.bases.base import ONE_AT_A_TIME, Base
from pave.bases.families.common import container, side_of
from pave.bases.families.grids import patches_of, split_grids, token_grids
from pave.bases.source import reading
from pave.bases.visual import Clip, Layout, Visual
from pave.errors import BaseError, MediaError
from pave.media import read_picture

Read = Callable[[Base, Any, Mapping[str, Any]], tuple[str, Visual]]
"""Base, what its tower said, what its processor made -> the prompt's text, the tokens."""


@dataclass(frozen=True)
class _Way:
    """How a family sees a picture.

    Attributes:
        read: See `Read`.
        options: Of the image processor, as the family's own processor gives them.
        inputs: What the language model gets to know, beside the tokens.
        beside_clips: Whether a prompt may hold clips, too.
        closely_alone: Whether a picture is cut into tiles only where it is the prompt's only one.
    """

    read: Read
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    beside_clips: bool = True
    closely_alone: bool = False


def check_pictures(base: Base, clips: int) -> None:
    """Refuse pictures that a base has no right way to see.

    Args:
        base: The base.
        clips: How many clips stand in the same prompt.

    Raises:
        BaseError: If its family takes none, or none beside clips, or its folder does not say how.
    """
    name = base.family.name
    if name not in WAYS:
        raise BaseError(
            f"{base.name}: pave does not know how {name} sees a single picture, which differs from "
            f"a frame; these families take pictures: {', '.join(sorted(WAYS))}"
        )
    if clips and not WAYS[name].beside_clips:
        raise BaseError(
            f"{base.name}: {name} takes either clips or pictures, not both in one prompt"
        )
    if base.origin is None or not base.inputs.native:
        raise BaseError(
            f"{base.name}: the settings for images are in the model's folder; load the base from "
            "a folder or Hub id in Hugging Face's naming"
        )


def see(base: Base, image: Any, many: bool = False) -> tuple[Clip, Visual]:
    """A picture's text and small inputs, and its tokens.

    Args:
        base: A base for which `check_pictures` has nothing to say.
        image: A picture file, or a picture as pillow, numpy or torch hold it.
        many: Whether the prompt holds further pictures; some families then look less closely.

    Raises:
        MediaError: If it is no picture.
        BaseError: If the folder's image processor cannot be had.
    """
    assert base.origin is not None  # checked
    way = WAYS[base.family.name]
    images: list[Any] = [_pixels(image)]
    if many and way.closely_alone:
        images = [images * 2]  # any second one will do: it is left out below
    given = _processor(base.origin.source)(
        images=images, input_data_format="channels_last", return_tensors="pt", **way.options
    )
    if many and way.closely_alone:
        for key in ("pixel_values", "image_sizes"):
            given[key] = given[key][:1]
    base.load_tower()
    # The class's own: a seam on the instance has nothing to add to pictures.
    method = type(base.inner).get_image_features
    args = {}
    for key in inspect.signature(method).parameters:
        if isinstance(given.get(key), Tensor):
            value = given[key].to(base.device)
            args[key] = value.to(base.dtype) if value.is_floating_point() else value
    with torch.no_grad(), ONE_AT_A_TIME:
        output = method(base.inner, **args, return_dict=True)
    text, visual = way.read(base, output, given)
    small = {key: given[key] for key in way.inputs}
    times = torch.zeros(visual.layout.t, dtype=torch.float64)
    return Clip(small, times, text, visual.layout.t), visual


def join_pictures(base: Base, visuals: Sequence[Visual]) -> Any:
    """What a forward takes as `mm_encoder_outputs["image"]`."""
    if base.family.name == "llava_onevision":
        return container(None, [visual.tokens for visual in visuals])
    return base.join(visuals)


@lru_cache(maxsize=4)
def _processor(source: str) -> Any:
    from transformers import AutoImageProcessor

    with reading(source, "the image processor could not be read"):
        return AutoImageProcessor.from_pretrained(source, trust_remote_code=False)


def _pixels(image: Any) -> npt.NDArray[np.uint8]:
    """`[H, W, 3]` of a file, or of what holds a picture."""
    if isinstance(image, str | Path):
        image = read_picture(Path(image))
    if isinstance(image, Tensor):
        image = image.numpy()
    # Pillow's, whatever its mode.
    convert = getattr(image, "convert", None)
    if convert is not None:
        image = convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] == 3 != pixels.shape[2]:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise MediaError(
            "a picture is a file, or uint8 [H, W, 3] or [3, H, W], got "
            f"{type(image).__name__} {pixels.dtype} {pixels.shape}"
        )
    return pixels


def _placeholder(base: Base) -> str:
    """The token that stands for one token of a picture."""
    return str(base.tokenizer.convert_ids_to_tokens(base.config.image_token_id))


def _qwen(base: Base, output: Any, given: Mapping[str, Any]) -> tuple[str, Visual]:
    """One grid, a step in time; Qwen3-VL's deepstack travels along."""
    grids = token_grids(given["image_grid_thw"], patches_of(base.config).merge)
    (visual,) = split_grids(output.pooler_output, grids, None)
    levels = tuple(level[0] for level in getattr(output, "deepstack_features", None) or ())
    text = _placeholder(base) * visual.layout.total
    visual = Visual(visual.tokens, visual.layout, None, levels)
    # Between the marks of a video: the Omni models call them otherwise.
    opened, _, closed = base.family.video_text.partition(base.family.placeholder)
    return f"{opened}{text}{closed}", visual


def _glm(base: Base, output: Any, given: Mapping[str, Any]) -> tuple[str, Visual]:
    """One grid, between marks of its own."""
    grids = token_grids(given["image_grid_thw"], patches_of(base.config).merge)
    (visual,) = split_grids(output.pooler_output, grids, None)
    text = _placeholder(base) * visual.layout.total
    return f"<|begin_of_image|>{text}<|end_of_image|>", visual


def _internvl(base: Base, output: Any, given: Mapping[str, Any]) -> tuple[str, Visual]:
    """Tiles, and the whole picture last."""
    tokens = output.pooler_output  # [tiles, S, D]
    tiles, count, _ = tokens.shape
    side = side_of(count)
    text = _placeholder(base) * (tiles * count)
    return f"<img>{text}</img>", Visual(tokens.flatten(0, 1), Layout(tiles, side, side))


def _smolvlm(base: Base, output: Any, given: Mapping[str, Any]) -> tuple[str, Visual]:
    """Rows of tiles, each behind its place, and the whole picture last."""
    (tokens,) = output.pooler_output  # [tiles * S, D]
    ((rows,),), ((columns,),) = given["rows"], given["cols"]
    tiles = rows * columns + 1
    side = side_of(tokens.shape[0] // tiles)
    around, one = "<fake_token_around_image>", _placeholder(base) * side**2
    text = ""
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            text += f"{around}<row_{row}_col_{column}>{one}"
        text += "\n"
    if text:
        text += "\n"
    text += f"{around}<global-img>{one}{around}"
    return text, Visual(tokens, Layout(tiles, side, side))


def _llava_onevision(base: Base, output: Any, given: Mapping[str, Any]) -> tuple[str, Visual]:
    """The whole picture, then its tiles put together, a newline token behind each row."""
    (tokens,) = output.pooler_output  # [n, D]
    count = tokens.shape[0]
    return _placeholder(base) * count, Visual(tokens, Layout(1, 1, count))


_QWEN = _Way(_qwen, inputs=("image_grid_thw",))
WAYS: Mapping[str, _Way] = {
    # Its places are those of clips too, and its forward cannot tell them apart.
    "glm4v": _Way(_glm, inputs=("image_grid_thw",), beside_clips=False),
    "internvl": _Way(_internvl, {"crop_to_patches": True}),
    "llava_onevision": _Way(_llava_onevision, closely_alone=True),
    "qwen2_5_omni": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen2_vl": _QWEN,
    "qwen3_5": _QWEN,
    "qwen3_omni": _QWEN,
    "qwen3_vl": _QWEN,
    # Its processor takes one or the other.
    "smolvlm": _Way(_smolvlm, {"return_row_col_info": True}, beside_clips=False),
}
"""Family -> its way to see a picture; the others are refused."""
