"""Sprites: SVG files rasterised once, scaled to the sizes the camera needs.

Premultiplied by alpha, cached.

Sprites are OpenMoji (CC BY-SA 4.0); clips that show them are derived works under the same licence.
"""

from __future__ import annotations

import io
from functools import cache, lru_cache

import av
import numpy as np
from numpy.typing import NDArray

from pave_world.assets import import_tool, sprite_file
from pave_world.scenes.catalog import CODES

MASTER = 160
"""Edge in pixels at which an SVG is rasterised; every smaller size is scaled down from it."""


def sprite(name: str, size: int) -> NDArray[np.uint8]:
    """One sprite as premultiplied RGBA.

    Args:
        name: A name of the catalogue.
        size: Edge in pixels; rounded to an even number so that few sizes are ever made.

    Returns:
        Array ``[size, size, 4]``; do not write into it, it is shared.

    Raises:
        ConfigError: A wheel is missing.
    """
    return _scaled(name, max(2, 2 * round(size / 2)))


@cache  # bounded by the catalogue
def _master(name: str) -> NDArray[np.float32]:
    tool = import_tool("resvg_py", "resvg-py==0.5.0")
    png = bytes(
        tool.svg_to_bytes(
            svg_path=str(sprite_file(CODES[name])), width=MASTER, skip_system_fonts=True
        )
    )
    with av.open(io.BytesIO(png), mode="r") as container:
        rgba = next(container.decode(video=0)).to_ndarray(format="rgba").astype(np.float32)
    # Premultiplied, so that scaling mixes no hidden colours in.
    rgba[..., :3] *= rgba[..., 3:] / 255.0
    return _trimmed(rgba)


def _trimmed(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the empty border off, to the smallest square that keeps the drawing centred.

    So that sizes mean what is seen.
    """
    rows, columns = np.nonzero(image[..., 3] > 0)  # pixels that are not fully transparent
    top, bottom, left, right = (
        int(edge) for edge in (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    )
    edge = max(bottom - top, right - left)
    square = np.zeros((edge, edge, 4), dtype=np.float32)
    down, across = (edge - (bottom - top)) // 2, (edge - (right - left)) // 2
    square[down : down + bottom - top, across : across + right - left] = image[
        top:bottom, left:right
    ]
    return square


@lru_cache(maxsize=2048)
def _scaled(name: str, size: int) -> NDArray[np.uint8]:
    master = _master(name)
    weights = _shrink_weights(len(master), size)  # [size, source]
    rows = np.tensordot(weights, master, axes=(1, 0))
    both = np.tensordot(weights, rows, axes=(1, 1)).transpose(1, 0, 2)
    scaled = np.ascontiguousarray(np.clip(both + 0.5, 0, 255).astype(np.uint8))
    scaled.flags.writeable = False  # shared by every frame that shows it
    return scaled


@lru_cache(maxsize=512)
def _shrink_weights(source: int, target: int) -> NDArray[np.float32]:
    """Matrix ``[target, source]`` of a triangle filter as wide as one target pixel.

    Scales one axis without aliasing.
    """
    ratio = source / target  # source pixels a target pixel
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    distance = np.abs(np.arange(source)[None, :] - centres[:, None]) / max(ratio, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
