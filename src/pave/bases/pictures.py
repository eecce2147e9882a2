"""Single pictures: each family's own way to see one, which is not that of a frame of a video.

Families cut a picture into tiles, or see it in more pixels than a frame, and write other text for
it. transformers' image processor of the base's folder prepares it, the model's
`get_image_features` sees it, and `pave.bases.picture_ways` knows what stands for it in the prompt.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pave.bases.base import ONE_AT_A_TIME, Base
from pave.bases.families.common import container
from pave.bases.hub import access
from pave.bases.picture_ways import WAYS, Sight, Way, image_token
from pave.bases.source import reading
from pave.bases.visual import Clip, Visual
from pave.errors import BaseError, MediaError
from pave.media import read_picture


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
            f"{base.name}: pave cannot prepare single pictures for {name}; families that take "
            f"pictures: {', '.join(sorted(WAYS))}"
        )
    if clips and not WAYS[name].beside_clips:
        raise BaseError(
            f"{base.name}: {name} takes clips or pictures in one prompt, not both; ask about "
            "them separately"
        )
    if base.origin is None or not base.inputs.native:
        raise BaseError(
            f"{base.name}: pictures need the image settings of the model's folder; load the base "
            "from a folder or Hub id in Hugging Face's format"
        )


def see(base: Base, image: Any, many: bool = False, number: int = 0) -> tuple[Clip, Visual]:
    """A picture's text and small inputs, and its tokens.

    Args:
        base: A base for which `check_pictures` has nothing to say.
        image: A picture file, or a picture as pillow, numpy or torch hold it.
        many: Whether the prompt holds further pictures; some families then look less closely.
        number: How many pictures stand before it in the prompt; some families count them.

    Raises:
        MediaError: If it is no picture.
        BaseError: If the folder's image processor cannot be had.
    """
    assert base.origin is not None  # checked
    way = WAYS[base.family.name]
    given = _prepared(base.origin.source, way, _pixels(image), many)
    base.load_tower()
    # The class's own: a seam on the instance has nothing to add to pictures.
    method = type(base.inner).get_image_features
    with torch.no_grad(), ONE_AT_A_TIME:
        output = method(base.inner, **_arguments(base, method, given), return_dict=True)
    text, visual = way.read(Sight(base, output, given, number))
    small = {key: given[key] for key in way.inputs}
    times = torch.zeros(visual.layout.t, dtype=torch.float64)
    return Clip(small, times, text, visual.layout.t), visual


def _prepared(source: str, way: Way, pixels: npt.NDArray[np.uint8], many: bool) -> dict[str, Any]:
    """What the folder's image processor makes of a picture, and its own settings for the text."""
    processor = _processor(source, access(source).get("revision"))
    images: list[Any] = [pixels]
    alone = not (many and way.closely_alone)
    if not alone:
        images = [images * 2]  # any second one will do: it is left out below
    given = dict(
        processor(
            images=images, input_data_format="channels_last", return_tensors="pt", **way.options
        )
    )
    if not alone:
        for key in ("pixel_values", "image_sizes"):
            given[key] = given[key][:1]
    if isinstance(given["pixel_values"], list):  # pictures of one prompt may differ in their tiles
        given["pixel_values"] = torch.stack(given["pixel_values"])
    given["use_image_id"] = getattr(processor, "use_image_id", False)
    return given


def _arguments(base: Base, method: Any, given: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the model's method takes of it, where the model is and in its type."""
    args = {}
    for key in inspect.signature(method).parameters:
        value = given.get(key)
        if not isinstance(value, Tensor):
            continue
        value = value.to(base.device)
        if value.is_floating_point() and not base.family.float_pixels:
            value = value.to(base.dtype)
        args[key] = value
    return args


def visual_marks(base: Base, ids: Tensor) -> Tensor:
    """Where ids are tokens around and within pictures that count as visual, `[B, L]` bool.

    Args:
        base: The base.
        ids: `[B, L]`.
    """
    way = WAYS.get(base.family.name)
    marks: Sequence[str] = ()
    if way is not None:
        marks = way.marks
    known = []
    for mark in marks:
        token = base.tokenizer.convert_tokens_to_ids(mark)
        if token is not None:  # a folder's processor need not use all of them
            known.append(token)
    return torch.isin(ids, torch.tensor(known, dtype=ids.dtype, device=ids.device))


def picture_mark(base: Base) -> str:
    """The token that chat templates write for a picture."""
    return WAYS[base.family.name].written or image_token(base)


def join_pictures(base: Base, visuals: Sequence[Visual]) -> Any:
    """What a forward takes as `mm_encoder_outputs["image"]`."""
    # Their clips come in another container.
    if base.family.name in ("llava_onevision", "llava_next_video"):
        return container(None, [visual.tokens for visual in visuals])
    return base.join(visuals)


@lru_cache(maxsize=4)
def _processor(source: str, revision: str | None) -> Any:
    """The folder's own; ids of the Hub are equal whatever their revision, hence the second key."""
    from transformers import AutoImageProcessor

    with reading(source, "the image processor could not be read"):
        try:
            return AutoImageProcessor.from_pretrained(
                source, trust_remote_code=False, **access(source)
            )
        except (ImportError, ValueError) as error:
            if "torchvision" not in str(error).lower():
                raise
            # Those of some families have no variant in pillow.
            raise BaseError(
                f"{source}: transformers' image processor of this model needs torchvision: pip "
                "install torchvision, in the version for your torch"
            ) from error


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
            "a picture must be a file, or uint8 [H, W, 3] or [3, H, W], got "
            f"{type(image).__name__} {pixels.dtype} {pixels.shape}"
        )
    return pixels
