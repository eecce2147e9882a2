"""What a processor's file asks for and pave does not do: never passed over in silence.

Pixels that differ from those of the model's own processor make answers worse, and nothing shows it.
The right values were found by running transformers' processors on such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # which reads its values from the same files
    from pave.bases.settings import BaseSettings

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers for the ways to resize, which the files use."""

EDGES = ("shortest_edge", "longest_edge")


def unfollowed(
    found: Mapping[str, Any], defaults: BaseSettings, resample: int | None = None
) -> list[str]:
    """The entries of a file that pave does not follow, as they are written there.

    Args:
        found: The parsed file.
        defaults: The family's settings, which tell what sizes it knows.
        resample: The number of the filter that the family resizes with; None looks at no filter.

    Example:
        >>> from pave.bases import BaseSettings
        >>> unfollowed({"do_resize": False, "resample": 2}, BaseSettings(), resample=3)
        ['do_resize: false', 'resample: 2 (bilinear)']
    """
    switches = ("do_resize", "do_rescale")
    asked = [f"{switch}: false" for switch in switches if found.get(switch) is False]
    factor = found.get("rescale_factor")
    if isinstance(factor, int | float) and abs(255 * factor - 1) > 1e-6:
        asked.append(f"rescale_factor: {factor}")
    number = found.get("resample")
    if number is not None and resample not in (None, number):
        asked.append(f"resample: {number} ({FILTERS.get(number, 'unknown')})")
    asked += _crop(found, defaults)
    if not _knows_size(found, defaults):
        asked.append(f"size: {found['size']}")
    return asked


def _crop(found: Mapping[str, Any], defaults: BaseSettings) -> Iterator[str]:
    """A crop where the family has none, or none where it has one."""
    switch = found.get("do_center_crop")
    if defaults.crop is not None and switch is False:
        yield "do_center_crop: false"
    # Processors that fit frames into a budget or into tiles do not look at it.
    squared = defaults.size is not None and defaults.longest_edge is None
    # To cut out what is everything changes nothing.
    whole = found.get("crop_size") == found.get("size")
    if squared and switch is True and not whole:
        yield "do_center_crop: true"


def _knows_size(found: Mapping[str, Any], defaults: BaseSettings) -> bool:
    """Whether `size` is of a kind that the family's own processor takes, or is not there."""
    size = found.get("size")
    # Gemma's and MiniCPM's processors do not look at it.
    if not size or defaults.max_video_tokens is not None or found.get("scale_resolution"):
        return True
    named = {"one number"}
    if not isinstance(size, int):
        named = {key for key, value in size.items() if value is not None}
    # Older files name an end of a budget elsewhere.
    for end, old in zip(EDGES, ("min_pixels", "max_pixels"), strict=True):
        if found.get(old):
            named.add(end)
    return any(named.issuperset(kind) for kind in _kinds(defaults))


def _kinds(defaults: BaseSettings) -> Sequence[Sequence[str]]:
    """The entries that a size of the family has, by the kinds of size that it takes."""
    if defaults.max_pixels is not None:  # both ends of a budget
        return [EDGES]
    if defaults.longest_edge is not None:
        return [("longest_edge",)]
    square = [("one number",), ("height", "width")]
    if defaults.shortest_edge is not None:
        return [*square, ("shortest_edge",)]
    return square
