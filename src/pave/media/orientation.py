"""How a stored picture is turned and mirrored to be shown: all eight ways, from its matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.buffer import Buffer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

Picture = npt.NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class Orientation:
    """What is done to a stored picture, in this order.

    Attributes:
        transposed: Rows become columns.
        mirrored: Left and right change places.
        flipped: Top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise that remain when `is_mirrored` was undone: 0, 90, 180 or 270.

        The picture is first mirrored left to right, if it is at all, and then turned.
        """
        if self.transposed:
            return 90 + 180 * self.mirrored
        return 180 * self.flipped

    @property
    def is_mirrored(self) -> bool:
        """Whether writing in the stored picture is shown as in a mirror."""
        return self.transposed ^ self.mirrored ^ self.flipped

    def apply(self, picture: Picture) -> Picture:
        """The picture as it is shown, a view of `[H, W, 3]` or, transposed, `[W, H, 3]`."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        if self.mirrored:
            picture = picture[:, ::-1]
        if self.flipped:
            picture = picture[::-1]
        return picture


def _unnamed(kind: type[Type], number: int) -> Type:
    """A member for a kind of side data that PyAV has no name for."""
    member = object.__new__(kind)
    member._name_ = f"KIND_{number}"
    member._value_ = number  # type: ignore[assignment]
    return member


# PyAV 18 knows fewer kinds than the FFmpeg in its wheel. For one that it cannot name, such as the
# EXIF of a photo, it would refuse to show any side data of the frame.
Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment, method-assign]


def orientation(frame: VideoFrame) -> Orientation:
    """What a frame's display matrix says, rounded to the nearest of the eight ways.

    The matrix is that of MP4 (ISO/IEC 14496-12, 8.3.2.3), which FFmpeg gives for every container:
    nine numbers `a b u c d v x y w`, and a point (p, q) of the stored picture, q counted downwards,
    is shown at (a p + c q + x, b p + d q + y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, Buffer):
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
    return Orientation(mirrored=a < 0, flipped=d < 0)
