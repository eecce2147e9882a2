"""`open_scene`: posed RGB-D frames from a folder laid out like ScanNet's, or from arrays, read one frame at a time.

A record's `scene3d` is a folder, or an object:

    "scene3d": "scans/scene0000_00"
    "scene3d": {"folder": "scans/scene0000_00", "axis_align": "scans/scene0000_00.txt"}
    "scene3d": {"arrays": "a1.npz", "video": "a1.mp4"}

| folder | arrays (`.npz`) | holds |
|---|---|---|
| `color/<n>.jpg` | `color` `[F, H, W, 3]` uint8 | pictures; arrays may leave them to the clip's `video`, at `times` |
| `depth/<n>.png` | `depth` `[F, h, w]` | depth along the camera's axis, 16-bit millimetres or float metres; 0 is unknown |
| `pose/<n>.txt` | `pose` `[F, 4, 4]` | camera (x right, y down, z forward) to world; not finite: left out |
| `intrinsic/intrinsic_depth.txt` | `intrinsic` `[4, 4]` or `[3, 3]` | of the depth maps, in pixels |
| `axis_align.txt` | `axis_align` `[4, 4]` | turns the world upright; optional |
| `fps` of the object, 1 if not given | `times` `[F]` | seconds; picture n of a folder stands at n / fps |

ScanNet's `<folder name>.txt` with its line `axisAlignment = ...` is understood too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from pave.channels.encoder import one_path
from pave.errors import ChannelError, MediaError
from pave.media import At, list_pictures, read_depth, read_frames, read_picture
from pave.store import Source

Array = npt.NDArray[Any]
MILLIMETRES = 1000.0


@dataclass(frozen=True)
class PosedFrame:
    """One picture that knows where it was taken.

    Attributes:
        pixels: `[3, H, W]` uint8.
        depth: `[h, w]` float64 metres, 0 where unknown.
        intrinsic: `[4, 4]` float64, of the depth map.
        pose: `[4, 4]` float32, camera to the upright world.
        time: Seconds.
    """

    pixels: Tensor
    depth: npt.NDArray[np.float64]
    intrinsic: npt.NDArray[np.float64]
    pose: Tensor
    time: float


@dataclass(frozen=True)
class Scene:
    """The frames of a scene that have a pose: how many, and how to read one."""

    count: int
    read: Callable[[int], PosedFrame]

    def evenly(self, count: int) -> list[int]:
        """Numbers of `count` evenly spread frames, first and last included, none twice."""
        return list(np.unique(np.linspace(0, self.count - 1, count, dtype=np.int64)))


class _Source(BaseModel):
    """The object form of a record's `scene3d`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str | None = None
    arrays: str | None = None
    video: str | None = None
    axis_align: str | None = None
    fps: float = Field(1.0, gt=0)


def open_scene(source: Source) -> Scene:
    """Find a scene's files and read what all frames share.

    Args:
        source: A folder, a `.npz` file, or a mapping as above.

    Raises:
        ChannelError: If the source has another form, files are missing, or arrays do not fit each other.
        MediaError: If a picture cannot be read.
    """
    if not isinstance(source, Mapping):
        path = one_path(source, "scene3d")
        source = {"arrays": str(path)} if path.suffix == ".npz" else {"folder": str(path)}
    try:
        given = _Source.model_validate(dict(source))
    except ValidationError as error:
        first = error.errors()[0]
        raise ChannelError(f"scene3d: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if (given.folder is None) == (given.arrays is None):
        raise ChannelError("scene3d: give either `folder` or `arrays`")
    align = None if given.axis_align is None else _alignment(Path(given.axis_align))
    if given.arrays is not None:
        return _from_arrays(Path(given.arrays), given.video, align)
    return _from_folder(Path(str(given.folder)), align, given.fps)


def _from_folder(folder: Path, align: Array | None, fps: float) -> Scene:
    """ScanNet's layout."""
    for part in ("color", "depth", "pose"):
        if not (folder / part).is_dir():
            raise ChannelError(f"{folder}: has no folder {part}/; a scene holds color/, depth/, pose/ and intrinsic/")
    if align is None:
        named = (folder / "axis_align.txt", folder / f"{folder.name}.txt")
        align = next((_alignment(file) for file in named if file.is_file()), np.eye(4))
    intrinsic = _matrix(folder / "intrinsic" / "intrinsic_depth.txt")
    frames = []
    for number, picture in enumerate(list_pictures(folder / "color")):
        pose = _matrix(folder / "pose" / f"{picture.stem}.txt")
        if np.isfinite(pose).all():  # ScanNet marks frames that its tracker lost
            frames.append((picture, _upright(align, pose), number / fps))
    if not frames:
        raise ChannelError(f"{folder}: not one frame has a finite pose")

    def read(index: int) -> PosedFrame:
        picture, pose, time = frames[index]
        depth = read_depth(folder / "depth" / f"{picture.stem}.png").astype(np.float64) / MILLIMETRES
        return PosedFrame(read_picture(picture), depth, intrinsic, pose, time)

    return Scene(len(frames), read)


def _from_arrays(file: Path, video: str | None, align: Array | None) -> Scene:
    """One `.npz`, with the pictures in it or in a video beside it."""
    arrays = _load(file)
    depth, poses, times = arrays["depth"], arrays["pose"].astype(np.float64), arrays["times"].astype(np.float64)
    intrinsic = np.eye(4)
    size = arrays["intrinsic"].shape[0]
    intrinsic[:size, :size] = arrays["intrinsic"]
    align = arrays.get("axis_align", np.eye(4)) if align is None else align
    scale = MILLIMETRES if np.issubdtype(depth.dtype, np.integer) else 1.0
    kept = [int(i) for i in np.flatnonzero(np.isfinite(poses).all((1, 2)))]
    if not kept:
        raise ChannelError(f"{file}: not one frame has a finite pose")
    if video is None and "color" not in arrays:
        raise ChannelError(f"{file}: holds no `color`; put the pictures in, or name the clip's `video` beside `arrays`")

    def read(index: int) -> PosedFrame:
        at = kept[index]
        if video is None:
            pixels = torch.from_numpy(arrays["color"][at]).permute(2, 0, 1)
        else:
            pixels = read_frames(video, At([float(times[at])])).pixels[0]
        metres = depth[at].astype(np.float64) / scale
        return PosedFrame(pixels, metres, intrinsic, _upright(align, poses[at]), float(times[at]))

    return Scene(len(kept), read)


def _load(file: Path) -> dict[str, Array]:
    """The arrays of a scene, with shapes that fit each other."""
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except FileNotFoundError as error:
        raise MediaError(f"{file}: no such file; check the path") from error
    except (OSError, ValueError, EOFError) as error:
        raise ChannelError(f"{file}: cannot be read as arrays ({error}); save it again with numpy.savez") from error
    missing = [name for name in ("depth", "pose", "intrinsic") if name not in arrays]
    if missing:
        raise ChannelError(f"{file}: lacks {', '.join(missing)}; there are: {', '.join(arrays) or 'none'}")
    count = len(arrays["depth"])
    arrays.setdefault("times", np.arange(count, dtype=np.float64))
    shapes = {"depth": 3, "pose": 3, "color": 4, "times": 1}
    for name, dims in shapes.items():
        if name in arrays and (arrays[name].ndim != dims or len(arrays[name]) != count):
            raise ChannelError(f"{file}: {name} has shape {arrays[name].shape}; every array holds the same {count} frames")
    return arrays


def _upright(align: Array, pose: Array) -> Tensor:
    """`axis_align @ pose` in float32, as the authors multiply them."""
    return torch.from_numpy(np.asarray(align, dtype=np.float32)) @ torch.from_numpy(np.asarray(pose, dtype=np.float32))


def _matrix(file: Path) -> Array:
    """A 4 x 4 matrix in a text file."""
    try:
        found = np.loadtxt(file, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise ChannelError(f"{file}: cannot be read as a matrix ({error}); every frame needs its file") from error
    if found.shape != (4, 4):
        raise ChannelError(f"{file}: must hold 4 x 4 numbers, got {found.shape}")
    return found


def _alignment(file: Path) -> Array:
    """A 4 x 4 matrix as such, or the line `axisAlignment = 16 numbers` of ScanNet's scene file."""
    try:
        lines = [line for line in file.read_text("utf-8").splitlines() if line.startswith("axisAlignment")]
    except (OSError, UnicodeDecodeError) as error:
        raise ChannelError(f"{file}: cannot be read ({error}); check the path") from error
    if not lines:
        return _matrix(file)
    try:
        return np.array(lines[0].partition("=")[2].split(), dtype=np.float64).reshape(4, 4)
    except ValueError as error:
        raise ChannelError(f"{file}: axisAlignment must be 16 numbers ({error})") from error
