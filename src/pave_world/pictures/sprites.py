"""Sprites: SVG files rasterised once, scaled to the sizes the camera needs, and cached.

Their colours are premultiplied by alpha.

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
    even = 2 * round(size / 2)
    return _scaled(name, max(2, even))


@cache  # bounded by the catalogue
def _master(name: str) -> NDArray[np.float32]:
    """A sprite at its largest, premultiplied RGBA `[edge, edge, 4]`."""
    tool = import_tool("resvg_py", "resvg-py==0.5.0")
    svg = str(sprite_file(CODES[name]))
    png = bytes(tool.svg_to_bytes(svg_path=svg, width=MASTER, skip_system_fonts=True))
    with av.open(io.BytesIO(png), mode="r") as container:
        frame = next(container.decode(video=0))
        rgba = frame.to_ndarray(format="rgba").astype(np.float32)  # [MASTER, MASTER, 4]
    # Premultiplied, so that scaling mixes no hidden colours in.
    alpha = rgba[..., 3:] / 255.0
    rgba[..., :3] *= alpha
    return _trimmed(rgba)


def _trimmed(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut the empty border off, to the smallest square that keeps the drawing centred.

    The size of a sprite is then the size of what is seen of it.
    """
    is_drawn = image[..., 3] > 0  # pixels that are not fully transparent
    rows, columns = np.nonzero(is_drawn)
    drawing = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width, _ = drawing.shape
    edge = max(height, width)
    top = (edge - height) // 2
    left = (edge - width) // 2
    square = np.zeros((edge, edge, 4), dtype=np.float32)
    square[top : top + height, left : left + width] = drawing
    return square


@lru_cache(maxsize=2048)
def _scaled(name: str, size: int) -> NDArray[np.uint8]:
    """A sprite at one size, rounded to bytes."""
    master = _master(name)
    weights = _shrink_weights(len(master), size)  # [size, source]
    rows = np.tensordot(weights, master, axes=(1, 0))  # [size, source, 4]
    both = np.tensordot(weights, rows, axes=(1, 1))  # [size, size, 4], columns first
    upright = both.transpose(1, 0, 2)
    rounded = np.clip(upright + 0.5, 0, 255).astype(np.uint8)
    scaled = np.ascontiguousarray(rounded)
    scaled.flags.writeable = False  # shared by every frame that shows it
    return scaled


@lru_cache(maxsize=512)
def _shrink_weights(source: int, target: int) -> NDArray[np.float32]:
    """Matrix ``[target, source]`` that scales one axis without aliasing.

    A triangle filter, as wide as one target pixel.
    """
    ratio = source / target  # source pixels per target pixel
    centres = (np.arange(target) + 0.5) * ratio - 0.5  # of target pixels, in source pixels
    pixels = np.arange(source)
    distance = np.abs(pixels[None, :] - centres[:, None])  # [target, source]
    distance /= max(ratio, 1.0)  # enlarged sprites are interpolated between two pixels
    weights = np.maximum(0.0, 1.0 - distance)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)
