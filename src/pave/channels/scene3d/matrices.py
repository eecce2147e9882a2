"""The matrices of a scene, checked: poses, camera intrinsics, and what turns the world upright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pave.errors import ChannelError
from pave.texts import TextFile, read_text

Array = npt.NDArray[Any]
_ALIGNMENT = "axisAlignment"
_MATRIX_BYTES = 1 << 20  # a matrix has some hundred bytes, ScanNet's scene file a thousand


def read_matrix(file: Path) -> Array:
    """A 4 x 4 matrix in a text file.

    Its numbers need not be finite: ScanNet marks poses so that its tracker lost.

    Raises:
        ChannelError: If it cannot be read, or holds something else.
    """
    found = _numbers(_text(file), file)
    if found.shape != (4, 4):
        raise ChannelError(f"{file}: must hold 4 x 4 numbers, got {found.shape}")
    return found


def read_intrinsic(file: Path) -> npt.NDArray[np.float64]:
    """A camera's matrix in a text file, 4 x 4 (ScanNet) or 3 x 3, as 4 x 4.

    Raises:
        ChannelError: If it cannot be read, or cannot be one.
    """
    return as_intrinsic(_numbers(_text(file), file), str(file))


def read_alignment(file: Path) -> Array:
    """A 4 x 4 matrix as such, or the line `axisAlignment = 16 numbers` of ScanNet's scene file.

    The scene files of ScanNet's test scans have no such line: these are not turned.

    Raises:
        ChannelError: If it cannot be read, or holds something else.
    """
    text = _text(file)
    if "=" not in text:
        return as_alignment(_numbers(text, file), str(file))
    # ScanNet's scene file: `name = value` on every line.
    rows = [line.partition("=") for line in text.splitlines()]
    values = {name.strip(): value for name, _, value in rows}
    if _ALIGNMENT not in values:
        return np.eye(4)
    numbers = values[_ALIGNMENT].split()
    try:
        matrix = np.array(numbers, dtype=np.float64).reshape(4, 4)
        return as_alignment(matrix, str(file))
    except ValueError as error:
        raise ChannelError(f"{file}: axisAlignment must be 16 numbers ({error})") from error


def _text(file: Path) -> str:
    """What a file of numbers says."""
    wanted = TextFile(
        file, ChannelError, "every frame needs a pose file, and a scene the matrix of its camera"
    )
    return read_text(wanted, _MATRIX_BYTES)


def _numbers(text: str, file: Path) -> Array:
    """Rows of numbers."""
    lines = text.splitlines()
    if not "".join(lines).strip():  # of which numpy warns only
        raise ChannelError(f"{file}: is empty; copy it again")
    try:
        return np.loadtxt(lines, dtype=np.float64)
    except ValueError as error:
        raise ChannelError(
            f"{file}: cannot be read as a matrix ({error}); every frame needs a pose file"
        ) from error


def as_alignment(matrix: Array, where: str) -> Array:
    """The matrix, if it can turn a world.

    Args:
        matrix: Any array.
        where: Its file, for the message.

    Raises:
        ChannelError: If it is not 4 x 4, or a number is not finite.
    """
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ChannelError(f"{where}: axis_align must be 4 x 4 finite numbers, got {_what(matrix)}")
    return matrix


def as_intrinsic(matrix: Array, where: str) -> npt.NDArray[np.float64]:
    """A camera's matrix as 4 x 4, if it can be one.

    Args:
        matrix: Any array.
        where: Its file, for the message.

    Raises:
        ChannelError: If it is neither 4 x 4 nor 3 x 3, a number is not finite, or a focal length is
            not positive.
    """
    if (
        matrix.shape not in ((4, 4), (3, 3))
        or not np.isfinite(matrix).all()
        or min(matrix[0, 0], matrix[1, 1]) <= 0
    ):
        wanted = (
            "4 x 4 or 3 x 3 finite numbers whose focal lengths, the first two on the diagonal, "
            "are positive"
        )
        raise ChannelError(f"{where}: intrinsic must be {wanted}, got {_what(matrix)}")
    # The fourth row and column of a 3 x 3 one are those of the unit matrix.
    found = np.eye(4)
    found[: len(matrix), : len(matrix)] = matrix
    return found


def _what(matrix: Array) -> str:
    """A small matrix's numbers, a large one's shape."""
    if matrix.shape in ((4, 4), (3, 3)):
        return str(matrix.tolist())
    return f"shape {matrix.shape}"
