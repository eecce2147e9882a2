"""A wall in front of a camera, as depth maps with poses: its points are plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def room(folder: Path) -> Path:
    """A wall 2 m away, red, seen at 0.0 and 0.5 s by a camera that moves 1 m to the right."""
    poses = np.stack([np.eye(4), np.eye(4)]).astype(np.float32)
    poses[1, 0, 3] = 1.0
    depth = np.full((2, 4, 6), 2.0)
    depth[:, 0, 0] = 0  # unknown
    intrinsic = np.array([[6.0, 0, 0], [0, 4.0, 0], [0, 0, 1]])
    colour = np.zeros((2, 8, 12, 3), dtype=np.uint8)
    colour[..., 0] = 255
    file = folder / "room.npz"
    times = np.array([0.0, 0.5])
    np.savez(file, color=colour, depth=depth, pose=poses, intrinsic=intrinsic, times=times)
    return file
