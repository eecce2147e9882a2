"""The eight ways in which a stored picture is turned and mirrored to be shown.

They have the numbers of EXIF: 1 as stored, 2 mirrored, 3 upside down, 4 flipped, 5 to 8 the same
with rows and columns exchanged. Photos note that number, films a matrix. Source: EXIF 2.32, tag
0x0112; ISO/IEC 14496-12, 8.3.2.3.
"""

from __future__ import annotations

import struct
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from av.buffer import Buffer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

Number = TypeVar("Number", bound=np.generic)

AS_STORED = 1

# What is done, in this order: "t" exchanges rows and columns, "x" reverses the columns (left and
# right change places), "y" the rows (top and bottom do). Each of them mirrors.
MOVES = {
    1: "",
    2: "x",
    3: "xy",
    4: "y",
    5: "t",
    6: "tx",
    7: "txy",
    8: "ty",
}
_NUMBERS = {moves: number for number, moves in MOVES.items()}
EXCHANGED = {5, 6, 7, 8}  # of these width and height change places


def _unnamed(kind: type[Type], number: int) -> Type:
    """A member for a kind of side data that PyAV has no name for."""
    member = object.__new__(kind)
    member._name_ = f"KIND_{number}"
    member._value_ = number  # type: ignore[assignment]
    return member


# PyAV 18 knows fewer kinds than the FFmpeg in its wheel. For one that it cannot name, such as the
# EXIF of a photo, it would refuse to show any side data of the frame.
Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment, method-assign]


def orientation(frame: VideoFrame) -> int:
    """What a frame's display matrix says, rounded to the nearest of the eight ways.

    The matrix is that of MP4, which FFmpeg gives for every container: nine numbers
    `a b u c d v x y w`, and a point (p, q) of the stored picture, q counted downwards, is shown at
    (a p + c q + x, b p + d q + y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, Buffer):
        return AS_STORED
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    moves = ""
    left, up = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        moves = "t"
        left, up = c, b
    if left < 0:
        moves += "x"
    if up < 0:
        moves += "y"
    return _NUMBERS[moves]


def turned(picture: npt.NDArray[Number], orientation: int) -> npt.NDArray[Number]:
    """A stored picture as it is shown.

    Args:
        picture: `[H, W]` or `[H, W, C]`.
        orientation: 1 to 8.

    Returns:
        The same numbers; rows and columns are exchanged for 5 to 8.
    """
    moves = MOVES[orientation]
    if "t" in moves:
        picture = picture.swapaxes(0, 1)
    if "x" in moves:
        picture = picture[:, ::-1]
    if "y" in moves:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def as_turn(orientation: int) -> tuple[int, bool]:
    """The same as players say it: first mirrored left to right, if at all, and then turned.

    Returns:
        Degrees counter-clockwise (0, 90, 180 or 270), and whether it is mirrored.

    Example:
        >>> as_turn(6)
        (270, False)
    """
    moves = MOVES[orientation]
    mirrored = len(moves) % 2 == 1
    degrees = 180 * ("y" in moves)
    if "t" in moves:
        degrees = 90 + 180 * ("x" in moves)
    return degrees, mirrored


def from_turn(degrees: int, mirrored: bool) -> int:
    """The number of what `as_turn` says.

    Example:
        >>> from_turn(270, False)
        6
    """
    number = AS_STORED
    while as_turn(number) != (degrees, mirrored):
        number += 1
    return number


def turned_pixels(orientation: int, width: int, height: int) -> npt.NDArray[np.float64]:
    """Where a stored pixel is shown: `shown = M @ (u, v, 1)`.

    Args:
        orientation: 1 to 8.
        width: Of the stored picture.
        height: Of the stored picture.

    Returns:
        `[3, 3]`, for columns u and rows v that are counted from 0.

    Example:
        >>> turned_pixels(6, 64, 48) @ (0, 0, 1)  # the first pixel is shown at the top right
        array([47.,  0.,  1.])
    """
    moves = MOVES[orientation]
    moved = np.eye(3)
    if "t" in moves:
        moved = moved[[1, 0, 2]]
        width, height = height, width
    if "x" in moves:  # u becomes width - 1 - u
        moved[0] *= -1
        moved[0, 2] += width - 1
    if "y" in moves:
        moved[1] *= -1
        moved[1, 2] += height - 1
    return moved
