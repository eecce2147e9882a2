"""Frames kept as pictures in a folder, as ScanNet scenes and many benchmarks are distributed.

The PAVE authors' scene folders keep their 32 frames in one file, `stacked_images.npy`, `[N, H, W,
3]` uint8; it is read too. A scene in ScanNet's layout keeps its pictures in `color/`, beside depth
and poses.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from tokenize import TokenError

import numpy as np
import numpy.typing as npt
import torch
from av.video.frame import VideoFrame
from torch import Tensor

from pave.errors import ConfigError, MediaError
from pave.files import entries_of, regular_file
from pave.media.container import open_media
from pave.media.exif import orientation_of
from pave.media.limits import must_fit, must_hold_clip
from pave.media.orientation import AS_STORED, turned
from pave.media.sampling import At, Sampling, choose

SUFFIXES = {".jpg", ".jpeg", ".png"}
STACK = "stacked_images.npy"
COLOR = "color"


def read_folder(folder: Path, sampling: Sampling, fps: float) -> tuple[Tensor, Tensor]:
    """Read the pictures that a sampling chooses.

    Args:
        folder: Holds `stacked_images.npy`, or jpg/png files; other files and hidden ones are
            ignored. Files are sorted by name, numbers inside names by value.
        sampling: Which pictures to take.
        fps: Pictures per second: picture i has time `i / fps`.

    Returns:
        `[F, 3, H, W]` uint8 pixels and `[F]` float64 seconds.

    Raises:
        MediaError: If there is no picture, one cannot be read, or sizes differ.
    """
    times = folder_times(folder, fps)
    chosen = choose(times, sampling)
    return read_pictures(folder, chosen), torch.from_numpy(times[chosen])


def folder_times(folder: Path, fps: float) -> npt.NDArray[np.float64]:
    """`[N]` seconds of all pictures of a folder.

    Raises:
        MediaError: If there is no picture.
        ConfigError: If the rate is no positive number.
    """
    if not 0 < fps < float("inf"):
        raise ConfigError(f"folder_fps={fps}: must be a positive number of frames per second")
    if os.path.lexists(folder / STACK):
        count = len(_open_stack(folder / STACK))
    else:
        count = len(list_pictures(folder))
    return np.arange(count) / fps


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder (or of `color/` in it) by name, numbers inside names by value.

    A png beside a jpg of its name is that frame's depth map (`posed_images` of ScanNet) and no
    picture.

    Raises:
        MediaError: If there is none, or no such folder.
    """
    # Not `Path.is_dir`, which raises where a name is too long.
    if not os.path.isdir(folder):
        raise MediaError(f"{folder}: there is no such folder of frames; check the path")
    files: list[Path] = []
    for file in entries_of(folder):
        if file.suffix.lower() not in SUFFIXES or file.is_dir():
            continue
        # A link that leads nowhere would shift the frames behind it.
        if not file.is_file():
            regular_file(file, MediaError, "a picture")
        files.append(file)
    files.sort(key=by_number)
    photos = {file.stem for file in files if file.suffix.lower() != ".png"}
    files = [file for file in files if file.suffix.lower() != ".png" or file.stem not in photos]
    if not files and (folder / COLOR).is_dir():
        return list_pictures(folder / COLOR)
    if not files:
        raise MediaError(
            f"{folder}: the folder holds no jpg or png frames (hidden files are ignored)"
        )
    return files


def read_pictures(folder: Path, chosen: npt.NDArray[np.int64]) -> Tensor:
    """`[F, 3, H, W]` uint8 pixels of the pictures with these numbers.

    Raises:
        MediaError: If one cannot be read, or sizes differ.
    """
    if os.path.lexists(folder / STACK):
        stack = _open_stack(folder / STACK)  # [N, H, W, 3], on disk
        _, height, width, _ = stack.shape
        must_hold_clip(folder, len(chosen), width, height)
        frames = stack[chosen].transpose(0, 3, 1, 2)  # [F, 3, H, W]
        return torch.from_numpy(np.ascontiguousarray(frames))
    files = list_pictures(folder)
    wanted, place_of = np.unique(chosen, return_inverse=True)
    pictures: list[Tensor] = []  # [3, H, W] each
    for number in wanted.tolist():
        picture = read_picture(files[number])
        if not pictures:  # the first one's size is that of all
            must_hold_clip(folder, len(chosen), picture.shape[2], picture.shape[1])
        pictures.append(picture)
    sizes = {tuple(picture.shape) for picture in pictures}
    if len(sizes) > 1:
        raise MediaError(
            f"{folder}: frames of one folder must have one size, found {sorted(sizes)}"
        )
    return torch.stack([pictures[place] for place in place_of.tolist()])


def way_in_folder(folder: Path, time: float, fps: float = 1.0) -> int:
    """The orientation in which a folder's picture of a moment is shown, 1 to 8.

    Raises:
        MediaError: If there is no picture.
    """
    if os.path.lexists(folder / STACK):
        return AS_STORED
    chosen = choose(folder_times(folder, fps), At([time]))
    return orientation_of(list_pictures(folder)[int(chosen[0])])


def _open_stack(file: Path) -> npt.NDArray[np.uint8]:
    """The frames of an array file, `[N, H, W, 3]`; they stay on disk until they are asked for."""
    regular_file(file, MediaError, "an array of frames")
    try:
        # Not `numpy.load`: that opens zip archives too, and tells users to unpickle whatever it
        # does not know.
        stack: npt.NDArray[np.uint8] = np.lib.format.open_memmap(file, mode="r")
    # SyntaxError and tokenize's error: numpy reads the header as Python.
    except (OSError, ValueError, OverflowError, SyntaxError, TokenError) as error:
        raise MediaError(
            f"{file}: cannot be read as an array of frames ({error}); save it again with numpy.save"
        ) from error
    if stack.ndim != 4 or 0 in stack.shape or stack.shape[3] != 3 or stack.dtype != np.uint8:
        raise MediaError(
            f"{file}: must hold uint8 frames [N, H, W, 3], got {stack.dtype} {stack.shape}"
        )
    must_fit(file, stack.shape[2], stack.shape[1])
    return stack


def read_depth(file: Path) -> npt.NDArray[np.uint16]:
    """A 16-bit grey png as `[H, W]` raw values (millimetres in ScanNet's depth maps), as stored.

    Raises:
        MediaError: If it cannot be read, or holds no 16-bit grey picture.
    """
    frame = _first_frame(file)
    if frame.format.name not in ("gray16be", "gray16le"):
        raise MediaError(
            f"{file}: a depth map is a 16-bit grey png, this one is {frame.format.name}; save it "
            "again"
        )
    return np.ascontiguousarray(frame.to_ndarray(format="gray16le", threads=1).astype(np.uint16))


def by_number(file: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts frame 2 before frame 10."""
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def read_picture(file: Path) -> Tensor:
    """One picture as `[3, H, W]` uint8, turned as its EXIF orientation says.

    Raises:
        MediaError: If it cannot be read.
    """
    stored = _first_frame(file).to_ndarray(format="rgb24", threads=1)  # [H, W, 3]
    shown = turned(stored, orientation_of(file))
    return torch.from_numpy(shown).permute(2, 0, 1).contiguous()


def _first_frame(file: Path) -> VideoFrame:
    with open_media(file) as media:
        frame = None
        if media.picture is not None:
            media.must_decode(media.picture)
            frame = next(media.container.decode(media.picture), None)
        if frame is None:
            raise MediaError(f"{file}: holds no picture; remove it from the folder or replace it")
        return frame
