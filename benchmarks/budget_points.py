"""What `make budget` tries: one thing at a time is made smaller or larger, all else stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pave.patches import LoraSpec
from pave_world.demo.config import DemoConfig

CHANNELS = ("audio", "scene3d")
"""One task of sound and one of depth."""
MIDDLE = "middle"
"""The settings of the demo, from which every other point differs in one thing."""
AXES = {
    "scale": "alpha / rank of the LoRA",
    "rank": "rank of the LoRA, at scale 2",
    "width": "hidden width of the fusion",
    "layers": "blocks of the fusion",
    "side": "side tokens a second",
}
"""Axis -> what is made smaller or larger; the points are run in this order."""
CELLS = 9
"""Side tokens of one frame of depth: the 3 x 3 grid of the tower of `smol`."""
SECONDS = 4.0
"""Length of a clip of the world."""
_RANK, _SCALE = 16, 2


@dataclass(frozen=True)
class Point:
    """One setting.

    Attributes:
        channel: Its task.
        axis: What differs from the middle; "" for the middle itself.
        value: How the table calls the setting.
        changes: `DemoConfig` fields that differ.
        side: (steps, tokens a step) of the side channel of a clip.
    """

    channel: str
    axis: str
    value: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    side: tuple[int, int] = (0, 1)

    @property
    def name(self) -> str:
        """Name of the run, and of its folder."""
        if not self.axis:
            return MIDDLE
        # Without what is said in brackets: it names a folder.
        return f"{self.axis}-{self.value.split()[0]}"

    @property
    def control(self) -> str:
        """Name of the LoRA-only run that it is compared with: a LoRA of the same shape."""
        if self.axis in ("scale", "rank"):
            return f"LoRA-{self.name}"
        return f"LoRA-{MIDDLE}"

    def config(self, middle: DemoConfig) -> DemoConfig:
        """The middle's settings with the changes."""
        return middle.model_copy(update=dict(self.changes))


def points(middle: DemoConfig) -> list[Point]:
    """The middle and all points around it, in the order in which they are run."""
    channel = middle.channel
    side = _side(middle, middle.encoder_settings)
    found = [Point(channel, "", MIDDLE, {}, side)]
    for value, lora in _loras(middle.lora, "scale").items():
        found.append(Point(channel, "scale", value, {"lora": lora}, side))
    for hidden in (64, 512):
        fusion = {**middle.fusion, "hidden": hidden}
        found.append(Point(channel, "width", str(hidden), {"fusion": fusion}, side))
    for settings in _encoders(channel):
        changes = {"encoder_settings": {**middle.encoder_settings, **settings}}
        steps, each = _side(middle, changes["encoder_settings"])
        value = f"{steps * each / SECONDS:g}"
        found.append(Point(channel, "side", value, changes, (steps, each)))
    for layers in (1, 3):
        fusion = {**middle.fusion, "layers": layers}
        found.append(Point(channel, "layers", str(layers), {"fusion": fusion}, side))
    for value, lora in _loras(middle.lora, "rank").items():
        found.append(Point(channel, "rank", value, {"lora": lora}, side))
    return found


def middle_value(middle: DemoConfig, axis: str) -> str:
    """What the middle has on an axis."""
    steps, each = _side(middle, middle.encoder_settings)
    values = {
        "scale": _SCALE,
        "rank": middle.lora.rank,
        "width": middle.fusion["hidden"],
        "layers": middle.fusion.get("layers", 2),
        "side": steps * each / SECONDS,
    }
    return f"{values[axis]:g}"


def _loras(lora: LoraSpec, axis: str) -> dict[str, LoraSpec]:
    """Value -> LoRA."""
    if axis == "rank":
        return {
            str(rank): lora.model_copy(update={"rank": rank, "alpha": _SCALE * rank})
            for rank in (4, 64)
        }
    scaled = {}
    for scale in (0.25, 1):
        scaled[f"{scale:g}"] = lora.model_copy(update={"alpha": int(scale * _RANK)})
    # alpha / sqrt(rank) = 32 / 4
    scaled["8 (rsLoRA)"] = lora.model_copy(update={"use_rslora": True})
    return scaled


def _encoders(channel: str) -> list[dict[str, Any]]:
    """Settings of the encoder that give fewer and more tokens a second."""
    if channel == "audio":
        return [{"step": 0.4, "width": 0.4}, {"step": 0.1, "width": 0.2}]
    return [{"frames": 1}, {"frames": 4}]


def _side(middle: DemoConfig, settings: Mapping[str, Any]) -> tuple[int, int]:
    """(steps, tokens a step) of a clip."""
    if middle.channel == "audio":
        return round(SECONDS / settings.get("step", 0.2)), 1
    return int(settings["frames"]), CELLS
