"""`PRESETS`: for each channel of the paper the settings its patch is trained with.

The settings were chosen on the worlds of seed 0. What differs between the channels is the encoder,
which questions teach the aligned start, and, for the control as for the patch, the number of clips,
of steps, and of clips in a step, and which questions are asked more often; rates and LoRA are
`DemoConfig`'s, one for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Preset:
    """What the demo of one channel takes.

    Attributes:
        encoder: Its encoder.
        does: What is encoded, in words.
        ask: How to ask about a video of one's own with `pave ask`: the question, and what else it
            takes.
        settings: The encoder's settings.
        fusion: `FusionConfig` fields that differ from the defaults.
        align_families: Families of questions that teach the aligned start; all that need the
            channel when empty.
        clips: Clips to train on.
        steps: Optimiser steps, of the control as of the patch.
        batch_clips: Clips of a step.
        focus_families: Families of questions that fill a part of the steps by themselves, because
            they are not learned in so few steps among all others.
        align_share: Size of the residual after the aligned start, as a share of the visual tokens'.
    """

    encoder: str
    does: str
    ask: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    fusion: Mapping[str, Any] = field(default_factory=lambda: {"hidden": 256})
    align_families: tuple[str, ...] = ()
    align_share: float = 0.7
    clips: int = 600
    steps: int = 340
    batch_clips: int = 2
    focus_families: tuple[str, ...] = ()


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "audio": Preset(
            "mel",
            "picture and sound",
            '"What do you hear?"',
            # An earlier version of pave, with 600 clips and 340 steps, gained ten points less.
            clips=1000,
            steps=720,
        ),
        "scene3d": Preset(
            "tower3d",
            "picture and depth",
            '"What is nearest?" --channel scene3d=SCENE.npz',
            settings={"frames": 2, "cell": "nearest"},
            align_families=("nearest", "side"),
            align_share=1.0,
            steps=600,
        ),
        "views": Preset(
            "tower",
            "the main camera's picture and the others'",
            '"What is behind the screen?" --channel views=CAMERA1.mp4,CAMERA2.mp4',
            settings={"frames": 4},
        ),
        "frames": Preset(
            "tower",
            "few frames and many",
            '"What flashes first?"',
            # smol's tower is convolutional: without `place` no token says on which side it lies.
            settings={"fps": 5.0, "side": 3, "place": True},
            # All but `direction`: one half of a dash is on the left, and the other on the right.
            align_families=(
                "flash",
                "flash_first",
                "flash_last",
                "flash_side",
                "flashes",
                "dash",
            ),
            align_share=0.4,
            steps=700,
            batch_clips=4,
            # Sides are asked for in a twentieth of the questions; alone, they are soon learned.
            focus_families=("direction", "flash_side", "dash", "flash"),
        ),
    }
)
