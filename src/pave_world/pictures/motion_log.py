"""What a motion sensor on the main camera measures, as a logger writes it: one CSV a clip.

Axes are the camera's: right, down, forward. A gyroscope measures the rate of turning, and an
accelerometer the acceleration against free fall, so that a camera at rest reads one g upwards.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pave.files import write_text_atomically
from pave_world.scenes.scene import Scene
from pave_world.scenes.seeds import CHANNEL_PARTS, generator

RATE = 100.0
"""Rows a second."""
COLUMNS = (
    "seconds",
    "gyro_x",
    "gyro_y",
    "gyro_z",
    "acc_x",
    "acc_y",
    "acc_z",
)
"""Seconds, then radians a second, then metres per second squared."""
GRAVITY = 9.81

_STEP = 1e-3  # seconds between the poses that speeds are taken from
# One standard deviation of a gyroscope and of an accelerometer, as in a telephone.
_NOISE = (0.01, 0.05)


def measured(scene: Scene, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a perfect sensor on the main camera reads.

    Args:
        scene: The scene.
        times: Moments in seconds ``[T]``.

    Returns:
        ``[T, 6]``: turning about right, down and forward; acceleration along them.
    """
    before = _poses(scene, times - _STEP)  # [T, 4]
    now = _poses(scene, times)
    after = _poses(scene, times + _STEP)
    yaw = now[:, 3]  # [T] radians
    rate = (after[:, 3] - before[:, 3]) / (2 * _STEP)
    bend = (after - 2 * now + before) / _STEP**2
    right, up, forward = bend[:, :3].T  # accelerations in the room
    rows = np.zeros((len(times), 6))
    # A yaw to the right is a turn about the axis that points down.
    rows[:, 1] = rate
    cos = np.cos(yaw)
    sin = np.sin(yaw)
    rows[:, 3] = right * cos - forward * sin
    rows[:, 4] = -up - GRAVITY
    rows[:, 5] = right * sin + forward * cos
    return rows


def write_log(path: Path, scene: Scene) -> Path:
    """Write what the sensor of a clip reads, noise included; the same scene gives the same bytes.

    Args:
        path: Where to write, ending in ``.csv``.
        scene: The scene.
    """
    times = np.arange(round(scene.duration * RATE)) / RATE  # [T] seconds
    rows = measured(scene, times)  # [T, 6]
    part = CHANNEL_PARTS[scene.channel]
    where = (scene.seed, scene.split, scene.index)
    rng = generator(*where, "noise", part=part)
    turning, pushing = _NOISE
    shape = (len(times), 3)
    rows[:, :3] += rng.normal(0.0, turning, shape)  # radians a second
    rows[:, 3:] += rng.normal(0.0, pushing, shape)  # metres per second squared
    table = np.column_stack([times, rows])  # [T, 7]
    text = io.StringIO()
    # Hundredths of a second, and what the sensor of a telephone resolves.
    formats = ["%.2f"] + 6 * ["%.4f"]
    np.savetxt(text, table, formats, delimiter=",", header=",".join(COLUMNS), comments="")
    write_text_atomically(path, text.getvalue())
    return path


def _poses(scene: Scene, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Position (right, up, forward) and yaw of the main camera ``[T, 4]``."""
    found = []
    for time in times.tolist():
        pose = scene.pose(time)
        place = [pose.x, pose.y, pose.z]
        found.append([*place, pose.yaw])
    return np.array(found)
