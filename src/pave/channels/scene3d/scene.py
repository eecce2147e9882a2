"""`open_scene`: posed RGB-D frames, from a folder as people keep ScanNet, or from arrays.

Frames are read one at a time. A record's `scene3d` is a folder, or an object:

    "scene3d": "scans/scene0000_00"
    "scene3d": {"folder": "scans/scene0000_00", "axis_align": "scans/scene0000_00.txt"}
    "scene3d": {"arrays": "a1.npz", "video": "a1.mp4"}

| folder | arrays (`.npz`) | holds |
|---|---|---|
| `color/<n>.jpg` | `color` `[F, H, W, 3]` | pictures, uint8 |
| `depth/<n>.png` | `depth` `[F, h, w]` | 16-bit millimetres or float metres, 0: unknown |
| `depth_scale` of the object, else 1000 | the same | whole units of depth in a metre |
| `pose/<n>.txt` | `pose` `[F, 4, 4]` | camera to world; not finite: left out |
| `intrinsic/intrinsic_depth.txt` | `intrinsic` | of the depth maps, in pixels, 4 x 4 or 3 x 3 |
| `axis_align.txt` | `axis_align` `[4, 4]` | turns the world upright; optional |
| `fps` of the object, else 1 | `times` `[F]` | seconds; picture n of a folder: n / fps |

Depth in other units needs its scale: `"depth_scale": 4000` for Matterport3D, whose unit is a
quarter of a millimetre. Pictures are turned as their EXIF orientation says, those of a video as its
header says, and depth, camera and pose with them.

A camera looks along z, x is right and y down; depth is measured along z. Arrays may leave the
pictures to the clip's `video`, which is read at `times`.

ScanNet's `<folder name>.txt` with its line `axisAlignment = ...` is understood too (test scans have
none and are not turned), and the flat
folders `posed_images/<scene>` of mmdetection3d and EmbodiedScan: `<n>.jpg`, `<n>.png` (depth),
`<n>.txt` (pose), and `depth_intrinsic.txt` for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from pave.cache import Source
from pave.channels.encoder import one_path
from pave.channels.plain import NotPlainError, read_arrays
from pave.channels.scene3d.matrices import (
    Array,
    as_alignment,
    as_intrinsic,
    read_alignment,
    read_intrinsic,
    read_matrix,
)
from pave.errors import ChannelError, MediaError
from pave.files import regular_file
from pave.media import At, list_pictures, probe, read_depth, read_frames, read_picture
from pave.media.exif import orientation_of
from pave.media.folder import way_in_folder
from pave.media.orientation import AS_STORED, EXCHANGED, from_turn, turned, turned_pixels

MILLIMETRES = 1000.0  # in a metre
# None stands for a number that the file itself decides; F is the same in all of them.
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "pose": (4, 4), "depth": (None, None), "color": (None, None, 3), "times": (),
}  # fmt: skip


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
        # Unique, because a short scene would give some numbers twice.
        return list(np.unique(np.linspace(0, self.count - 1, count, dtype=np.int64)))


class _Source(BaseModel):
    """The object form of a record's `scene3d`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    folder: str | None = None
    arrays: str | None = None
    video: str | None = None
    axis_align: str | None = None
    fps: float = Field(1.0, ge=1e-6, le=1e6)
    depth_scale: float = Field(MILLIMETRES, ge=1e-6, le=1e9)


def open_scene(source: Source) -> Scene:
    """Find a scene's files and read what all frames share.

    Args:
        source: A folder, a `.npz` file, or a mapping as above.

    Raises:
        ChannelError: If the source has another form, files are missing, or arrays do not fit each
            other.
        MediaError: If a picture cannot be read.
    """
    if not isinstance(source, Mapping):
        path = one_path(source, "scene3d")
        form = "arrays" if path.suffix == ".npz" else "folder"
        source = {form: str(path)}
    try:
        given = _Source.model_validate(dict(source))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ChannelError(f"scene3d: {where}: {first['msg']}") from error
    if (given.folder is None) == (given.arrays is None):
        raise ChannelError("scene3d: set either `folder` or `arrays`, not both")
    align = None  # then what lies beside the frames counts
    if given.axis_align is not None:
        align = read_alignment(Path(given.axis_align))
    if given.arrays is not None:
        return _from_arrays(given, align)
    return _from_folder(given, align)


def _from_folder(given: _Source, align: Array | None) -> Scene:
    """Color, depth and pose in folders of their own, or all in one."""
    folder = Path(str(given.folder))
    color, depths, poses = folder / "color", folder / "depth", folder / "pose"
    camera = folder / "intrinsic" / "intrinsic_depth.txt"
    if os.path.isfile(folder / "depth_intrinsic.txt"):  # mmdetection3d's flat folder
        color = depths = poses = folder
        camera = folder / "depth_intrinsic.txt"
    for part in (color, depths, poses):
        if not os.path.isdir(part):
            raise ChannelError(
                f"{folder}: has no folder {part.name}/; a scene holds color/, depth/, pose/ and "
                "intrinsic/, "
                "or all frames in one folder and depth_intrinsic.txt"
            )
    if align is None:
        align = _alignment_beside(folder)
    intrinsic = read_intrinsic(camera)
    frames = []
    for number, picture in enumerate(list_pictures(color)):
        pose = read_matrix(poses / f"{picture.stem}.txt")
        if np.isfinite(pose).all():  # ScanNet marks frames that its tracker lost
            frames.append((picture, _upright(align, pose), number / given.fps))
    if not frames:
        raise ChannelError(f"{folder}: no frame has a finite pose")

    def read(index: int) -> PosedFrame:
        picture, pose, time = frames[index]
        raw = read_depth(depths / f"{picture.stem}.png")
        depth = raw.astype(np.float64) / given.depth_scale
        stored = PosedFrame(read_picture(picture), depth, intrinsic, pose, time)
        return turn_with_picture(stored, orientation_of(picture))

    return Scene(len(frames), read)


def _alignment_beside(folder: Path) -> Array:
    """What turns a scene's world upright, by the file that lies with its frames, if any does."""
    # ScanNet's file is called like the scene, whatever a link to its folder is called.
    names = ("axis_align", folder.name, Path(os.path.realpath(folder)).name)
    for name in names:
        file = folder / f"{name}.txt"
        if name and os.path.lexists(file):
            return read_alignment(file)
    return np.eye(4)


def turn_with_picture(frame: PosedFrame, orientation: int) -> PosedFrame:
    """Depth, camera and pose in the way in which a picture is shown that was stored in another.

    Every pixel keeps its place in the world: the camera's axes are exchanged and reversed as the
    picture's are. (A mirrored picture gets a mirrored camera.)

    Args:
        frame: The picture as it is shown, the rest as the sensor stored it.
        orientation: The picture's EXIF orientation or the film's, 1 to 8.
    """
    height, width = frame.depth.shape
    tall = frame.pixels.shape[1] > frame.pixels.shape[2]
    # A depth map that lies as the shown picture does, not as the stored one, is turned already.
    turned_already = orientation in EXCHANGED and height != width and (height > width) == tall
    if orientation == AS_STORED or turned_already:
        return frame
    moved = turned_pixels(orientation, width, height)  # [3, 3], stored pixels to shown ones
    axes = np.eye(4)
    axes[:2, :2] = moved[:2, :2]  # exchanges and reverses x and y of the camera
    intrinsic = frame.intrinsic.copy()
    intrinsic[:3, :3] = moved @ frame.intrinsic[:3, :3] @ axes[:3, :3].T
    depth = np.asarray(turned(frame.depth, orientation), dtype=np.float64)
    pose = frame.pose @ torch.from_numpy(axes.T).to(frame.pose.dtype)
    return PosedFrame(frame.pixels, depth, intrinsic, pose, frame.time)


def _from_arrays(given: _Source, align: Array | None) -> Scene:
    """One `.npz`, with the pictures in it or in a video beside it."""
    file, video = Path(str(given.arrays)), given.video
    arrays = _load(file)
    depth = arrays["depth"]  # [F, h, w]
    poses = arrays["pose"].astype(np.float64)  # [F, 4, 4]
    times = arrays["times"].astype(np.float64)  # [F] seconds
    intrinsic = as_intrinsic(arrays["intrinsic"], str(file))
    if align is None:
        align = as_alignment(arrays.get("axis_align", np.eye(4)), str(file))
    upright = align
    # Whole numbers are in the folders' units; others are metres.
    scale = given.depth_scale if np.issubdtype(depth.dtype, np.integer) else 1.0
    # Frames that the tracker lost have no finite pose.
    kept = [int(i) for i in np.flatnonzero(np.isfinite(poses).all((1, 2)))]
    if not kept:
        raise ChannelError(f"{file}: no frame has a finite pose")
    if video is None and "color" not in arrays:
        raise ChannelError(
            f"{file}: holds no `color`; add the images, or name the clip's `video` beside `arrays`"
        )

    way_at: Callable[[float], int] = _stored
    if video is not None:
        way_at = _ways(Path(video))

    def read(index: int) -> PosedFrame:
        at = kept[index]
        time = float(times[at])
        if video is None:
            pixels = torch.from_numpy(arrays["color"][at]).permute(2, 0, 1)  # [3, H, W]
        else:
            pixels = read_frames(video, At([time])).pixels[0]
        metres = depth[at].astype(np.float64) / scale
        if not np.isfinite(metres).all():
            raise ChannelError(
                f"{file}: the depth of frame {at} holds NaN or infinity; write 0 where it is "
                "unknown"
            )
        pose = _upright(upright, poses[at])
        stored = PosedFrame(pixels, metres, intrinsic, pose, time)
        return turn_with_picture(stored, way_at(time))

    return Scene(len(kept), read)


def _stored(_: float) -> int:
    """The orientation of pictures that nothing turns."""
    return AS_STORED


def _ways(video: Path) -> Callable[[float], int]:
    """Time -> the orientation in which a clip's picture is shown, 1 to 8."""
    if os.path.isdir(video):
        return partial(way_in_folder, video)
    shown = probe(video).video
    if shown is None:
        return _stored
    way = from_turn(shown.rotation, shown.mirrored)  # all frames of a film are turned alike
    return lambda _: way


def _load(file: Path) -> dict[str, Array]:
    """The arrays of a scene, with shapes that fit each other."""
    if not os.path.lexists(file):
        raise MediaError(f"{file}: no such file; check the path")
    regular_file(file, ChannelError, "a file of arrays")
    try:
        arrays = read_arrays(file, ("depth", "pose", "intrinsic"), ("color", "times", "axis_align"))
    except NotPlainError as error:
        raise ChannelError(
            f"{file}: cannot be read as arrays ({error}); save it again with numpy.savez"
        ) from error
    count = 0  # F; an array of no axis at all has no length
    if arrays["pose"].ndim:
        count = len(arrays["pose"])
    arrays.setdefault("times", np.arange(count, dtype=np.float64))
    for name, shape in _SHAPES.items():
        if name in arrays and not _fits(arrays[name], (count, *shape)):
            sizes = ["any" if size is None else str(size) for size in shape]
            wanted = " x ".join(["frames", *sizes])
            what = f"{name} has shape {arrays[name].shape} instead of {wanted}"
            raise ChannelError(
                f"{file}: {what}; every array must hold the same {count} frames as `pose`"
            )
    if "color" in arrays and arrays["color"].dtype != np.uint8:
        raise ChannelError(f"{file}: color must be uint8, 0 to 255, got {arrays['color'].dtype}")
    if not np.isfinite(arrays["times"]).all():
        raise ChannelError(f"{file}: times must be finite numbers of seconds")
    return arrays


def _fits(array: Array, shape: tuple[int | None, ...]) -> bool:
    """Whether an array has a shape, and something in it wherever the shape leaves that open."""
    if array.ndim != len(shape):
        return False
    for have, want in zip(array.shape, shape, strict=True):
        if have != want and want is not None:
            return False
        if have == 0 and want is None:
            return False
    return True


def _upright(align: Array, pose: Array) -> Tensor:
    """`axis_align @ pose` in float32, as the authors multiply them."""
    left = torch.from_numpy(np.asarray(align, dtype=np.float32))  # [4, 4]
    right = torch.from_numpy(np.asarray(pose, dtype=np.float32))
    return left @ right
