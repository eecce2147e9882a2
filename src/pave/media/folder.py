"""Frames kept as pictures in a folder (ScanNet scenes and many benchmarks are distributed that way).

The PAVE authors' scene folders keep their 32 frames in one file, `stacked_images.npy`, `[N, H, W, 3]` uint8; it is read too.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pave.errors import ConfigError, MediaError
from pave.media.container import open_media, video_stream
from pave.media.sampling import Sampling, choose

SUFFIXES = {".jpg", ".jpeg", ".png"}
STACK = "stacked_images.npy"


def read_folder(folder: Path, sampling: Sampling, fps: float) -> tuple[Tensor, Tensor]:
    """Read the pictures that a sampling chooses.

    Args:
        folder: Holds `stacked_images.npy`, or jpg/png files; other files are ignored. Files are sorted by name, numbers inside
            names by value.
        sampling: Which pictures to take.
        fps: Pictures per second: picture i has time `i / fps`.

    Returns:
        `[F, 3, H, W]` uint8 pixels and `[F]` float64 seconds.

    Raises:
        MediaError: If there is no picture, one cannot be read, or sizes differ.
    """
    if not 0 < fps < float("inf"):
        raise ConfigError(f"folder_fps={fps}: must be a positive number of frames per second")
    if (folder / STACK).is_file():
        return _read_stack(folder / STACK, sampling, fps)
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file()), key=_by_number)
    if not files:
        raise MediaError(f"{folder}: the folder holds no jpg or png frames")
    times = np.arange(len(files)) / fps
    chosen = choose(times, sampling)
    pictures = {int(i): _read_picture(files[i]) for i in np.unique(chosen)}
    sizes = {tuple(p.shape) for p in pictures.values()}
    if len(sizes) > 1:
        raise MediaError(f"{folder}: frames of one folder must have one size, found {sorted(sizes)}")
    return torch.stack([pictures[int(i)] for i in chosen]), torch.from_numpy(times[chosen])


def _read_stack(file: Path, sampling: Sampling, fps: float) -> tuple[Tensor, Tensor]:
    """The chosen frames of an array file; the others stay on disk."""
    try:
        stack = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(f"{file}: cannot be read as an array of frames ({error}); make it again") from error
    if stack.ndim != 4 or stack.shape[0] == 0 or stack.shape[3] != 3 or stack.dtype != np.uint8:
        raise MediaError(f"{file}: must hold uint8 frames [N, H, W, 3], got {stack.dtype} {stack.shape}")
    times = np.arange(len(stack)) / fps
    chosen = choose(times, sampling)
    pixels = torch.from_numpy(np.ascontiguousarray(stack[chosen].transpose(0, 3, 1, 2)))
    return pixels, torch.from_numpy(times[chosen])


def _by_number(file: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts frame 2 before frame 10."""
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def _read_picture(file: Path) -> Tensor:
    """One picture as `[3, H, W]` uint8."""
    with open_media(file) as container:
        stream = video_stream(container)
        frame = None if stream is None else next(container.decode(stream), None)
        if frame is None:
            raise MediaError(f"{file}: holds no picture; remove it from the folder or replace it")
        return torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).contiguous()
