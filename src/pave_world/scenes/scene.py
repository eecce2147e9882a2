"""What a scene is: things at 3-D positions in a room, and a camera and sounds that take time.

World axes in metres: x to the right, y up from the floor, z away from the camera's resting place
into the room. The back wall is the plane ``z = room.depth``. Everything that is rendered (frames,
depth, sound) or asked (questions) is a function of a `Scene`, for whatever camera and at whatever
moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pave_world.scenes.catalog import Rgb

Channel = Literal["audio", "video", "scene3d", "views", "frames", "motion"]
"""What a scene has beside its picture, and what a question takes.

``"video"``: the picture alone.
"""
OLD_CHANNELS: Mapping[str, Channel] = MappingProxyType({"sound": "audio", "visual": "video"})
"""What two channels were called at first -> what they are called.

Settings and flags still say so.
"""
SHAKES_A_SECOND = 4.0
"""Swings of a shaking camera in a second, there and back."""
QUICK = 0.25
"""Share of a turn, lean or jump that the way out takes."""
_FILE_WORDS: Mapping[str, str] = MappingProxyType({new: old for old, new in OLD_CHANNELS.items()})
# Clips keep the names of the first version: folders made then go on, and record ids stay the same.
Mode = Literal["one", "sequence", "mix", "silent", "flash", "dash", "move"]
MoveKind = Literal["shake", "jump", "lean", "turn"]


@dataclass(frozen=True)
class Room:
    """Walls and floor.

    Attributes:
        wall: Name of the wall's colour.
        wall_rgb: Its shade.
        floor_rgb: Shade of the floor.
        depth: z of the back wall, in metres.
        stripe: Width of the wall's faint stripes in metres; they make the camera's motion visible.
        half: Side walls stand at x = -half and x = half; the main camera never sees them.
        front: z of the wall behind the main camera.
    """

    wall: str
    wall_rgb: Rgb
    floor_rgb: Rgb
    depth: float
    stripe: float
    half: float = math.inf
    front: float = -math.inf


@dataclass(frozen=True)
class Thing:
    """One billboard: a square sprite that faces the camera, standing or hovering.

    Attributes:
        name: Its sprite.
        x: Of its middle, in metres.
        y: Of its lower edge.
        z: Its distance into the room.
        height: Edge of the square sprite in metres.
    """

    name: str
    x: float
    y: float
    z: float
    height: float


@dataclass(frozen=True)
class Screen:
    """A plain panel on the floor, parallel to the back wall.

    The main camera cannot see what stands behind it.
    """

    x: float
    z: float
    width: float
    height: float


@dataclass(frozen=True)
class Transient:
    """Something that is there from `start` to `end` seconds only.

    Meanwhile it moves by `travel` metres along x.
    """

    thing: Thing
    start: float
    end: float
    travel: float = 0.0

    def at(self, time: float) -> Thing | None:
        """The thing as it is at `time` seconds; None before and after."""
        if not self.start <= time < self.end:
            return None
        share = (time - self.start) / (self.end - self.start)
        return replace(self.thing, x=self.thing.x + share * self.travel)


@dataclass(frozen=True)
class Pose:
    """Where a camera is at one moment, in metres, and its yaw in radians.

    A positive yaw turns to the right.
    """

    x: float
    y: float
    z: float
    yaw: float

    def to_camera(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points ``[N, 3]`` in camera axes (right, up, forward), metres."""
        shifted = points - np.array([self.x, self.y, self.z])
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        rotation = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
        return np.asarray(shifted @ rotation.T)


@dataclass(frozen=True)
class Camera:
    """Pin-hole camera that sways and pans slowly; its principal point is the image centre.

    Attributes:
        focal: Focal length in image widths.
        height: Of the camera above the floor, in metres.
        sway: Amplitude of the sideways motion in metres.
        pan: Amplitude of the yaw in radians.
        period: Of both motions, in seconds.
        phase: Of both at the start, in radians.
    """

    focal: float
    height: float
    sway: float
    pan: float
    period: float
    phase: float

    def pose(self, time: float) -> Pose:
        """Pose at `time` seconds."""
        angle = 2 * math.pi * time / self.period + self.phase
        x = self.sway * math.sin(angle)
        yaw = self.pan * math.cos(angle)
        return Pose(x, self.height, 0.0, yaw)


@dataclass(frozen=True)
class Move:
    """What the main camera does from `start` to `end` seconds, and then it is back.

    Attributes:
        kind: ``"turn"`` and ``"lean"`` go to one side, ``"jump"`` goes up, and ``"shake"`` turns
            there and back several times.
        start: In seconds.
        end: Likewise.
        size: How far it goes: metres, or radians of a turn and of a shake; to the left below 0.
    """

    kind: MoveKind
    start: float
    end: float
    size: float

    def shift(self, pose: Pose, time: float) -> Pose:
        """Where the camera is at `time` seconds, if it would be at `pose` without the move."""
        if not self.start <= time < self.end:
            return pose
        since = time - self.start  # seconds
        share = since / (self.end - self.start)
        if self.kind == "shake":
            swing = math.sin(2 * math.pi * SHAKES_A_SECOND * since)
            reach = self.size * _eased(2 * share)  # largest half-way
            return replace(pose, yaw=pose.yaw + reach * swing)
        # Out in the first quarter and slowly back, so that the way out is felt most.
        way = share / QUICK  # 1 is all the way out
        if share > QUICK:
            way = (1 - share) / (1 - QUICK)
        way = self.size * _eased(way)
        if self.kind == "turn":
            return replace(pose, yaw=pose.yaw + way)
        if self.kind == "lean":
            return replace(pose, x=pose.x + way)
        return replace(pose, y=pose.y + way)


def _eased(share: float) -> float:
    """From 0 to 1 and, beyond 1, back to 0 at 2; speed and acceleration have no jumps.

    Example:
        >>> _eased(0.0), _eased(0.5), _eased(1.0), _eased(2.0)
        (0.0, 0.5, 1.0, 0.0)
    """
    if share > 1:
        share = 2 - share
    return share**3 * (10 - 15 * share + 6 * share**2)


@dataclass(frozen=True)
class SoundEvent:
    """One thing sounding from `start` to `end` seconds at `level` dB (RMS, full scale = 0)."""

    name: str
    start: float
    end: float
    level: float


@dataclass(frozen=True)
class Scene:
    """A whole clip before rendering.

    ``seed``, ``split`` and ``index`` name the scene and seed everything derived from it (questions,
    phrases, noise).
    """

    channel: Channel
    mode: Mode
    seed: int
    split: str
    index: int
    duration: float
    room: Room
    camera: Camera
    things: tuple[Thing, ...]
    """From left to right as the camera sees them."""
    events: tuple[SoundEvent, ...]
    unseen: bool
    """Whether something is shown or heard that training never has: sprite, wall shade, or pitch."""
    screen: Screen | None = None
    behind: Thing | None = None
    """What stands behind the screen."""
    outside: Thing | None = None
    """What stands beside the main camera, out of its picture."""
    cameras: tuple[Pose, ...] = ()
    """Further cameras, on tripods: one films behind the screen, the next beside the main camera."""
    version: int = 1
    """Rules by which it was drawn, see `pave_world.scenes.sample`."""
    transients: tuple[Transient, ...] = ()
    """What flashes or dashes by, in the order of time."""
    moves: tuple[Move, ...] = ()
    """What the main camera does beside its slow sway, in the order of time."""

    @property
    def name(self) -> str:
        """Clip id, unique over splits and channels of one seed: ``"test-sound-00012"``."""
        word = _FILE_WORDS.get(self.channel, self.channel)
        return f"{self.split}-{word}-{self.index:05d}"

    @property
    def visible(self) -> tuple[str, ...]:
        """Names of the visible things from left to right."""
        return tuple(thing.name for thing in self.things)

    @property
    def heard(self) -> tuple[str, ...]:
        """Names of the sounding things in the order of their events."""
        return tuple(event.name for event in self.events)

    @property
    def hidden(self) -> tuple[str, ...]:
        """Names of what the main camera cannot see: behind the screen, then out of the picture."""
        return tuple(thing.name for thing in (self.behind, self.outside) if thing is not None)

    @property
    def flashed(self) -> tuple[str, ...]:
        """Names of what flashes or dashes by, in the order of time."""
        return tuple(transient.thing.name for transient in self.transients)

    def present(self, time: float) -> tuple[Thing, ...]:
        """Everything that is in the room at `time` seconds, seen or not."""
        hidden = tuple(thing for thing in (self.behind, self.outside) if thing is not None)
        moments = [transient.at(time) for transient in self.transients]
        passing = tuple(thing for thing in moments if thing is not None)
        return self.things + hidden + passing

    def pose(self, time: float, view: int = 0) -> Pose:
        """Pose of a camera at `time` seconds: 0 is the main one, 1 the first of the others."""
        if view > 0:
            return self.cameras[view - 1]
        pose = self.camera.pose(time)
        for move in self.moves:
            pose = move.shift(pose, time)
        return pose

    def left_of(self, name: str) -> bool:
        """Whether a visible thing stands left of the middle of the row."""
        return self.visible.index(name) < len(self.things) / 2
