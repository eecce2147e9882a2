"""What `make joint` trains and combines: a patch for each sense, and one for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joint_clips import IN_COMPANY, cache_of

from pave.train import TrainConfig
from pave_world import AUDIO_FAMILIES, FRAMES_FAMILIES, VIEWS_FAMILIES
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TRAIN
from pave_world.demo.training import CONTROL, run_configs
from pave_world.films.make import RECORDS

Worlds = Mapping[str, DemoConfig]
"""Sense -> the settings of its clips and of its single patch; all of one seed."""
Kind = Literal["control", "single", "combined", "joint"]
_ALIGN_FAMILIES = (*AUDIO_FAMILIES, *VIEWS_FAMILIES, *FRAMES_FAMILIES, "nearest", "side")
"""What teaches the aligned start: as in the demos, all families but for depth."""


@dataclass(frozen=True)
class Arm:
    """One way to have four senses.

    Attributes:
        title: How the tables call it.
        name: Of its run, and of its folder.
        kind: "control" and "single" are one training a sense, "combined" is made of the singles,
            "joint" is one training on all records.
        how: `pave combine --how`.
        per_channel: Whether a joint patch has a LoRA for each channel.
        company: Whether clips of a joint training have several channels at once.
    """

    title: str
    name: str
    kind: Kind
    how: Literal["apart", "linear", "ties", "svd"] = "apart"
    per_channel: bool = False
    company: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether it is asked with the clip's own channel alone.

        Side by side, patches then answer bit for bit as the single one.
        """
        return self.kind != "combined" or self.how != "apart"

    @property
    def has_others(self) -> bool:
        """Whether it is asked with the other channels present, which a single patch cannot read."""
        return self.kind in ("combined", "joint")


LORA = Arm("LoRA-only", "lora", "control")
SINGLE = Arm("single", "single", "single")
SIDE_BY_SIDE = Arm("singles side by side", "apart", "combined")
ARMS = (
    SINGLE,
    Arm("joint, one LoRA", "joint", "joint"),
    Arm("joint, LoRA per channel", "joint-per-channel", "joint", per_channel=True),
    SIDE_BY_SIDE,
    Arm("merged LoRAs, linear", "linear", "combined", how="linear"),
    Arm("merged LoRAs, ties", "ties", "combined", how="ties"),
    Arm("merged LoRAs, svd", "svd", "combined", how="svd"),
    LORA,
    Arm("joint, one LoRA, in company", "joint-company", "joint", company=True),
    Arm(
        "joint, LoRA per channel, in company",
        "joint-per-channel-company",
        "joint",
        per_channel=True,
        company=True,
    ),
)
"""In the order in which they are run."""


def run_of(arm: Arm, worlds: Worlds, sense: str) -> TrainConfig:
    """The training of an arm; for a joint one it is the same for each sense."""
    if arm.kind == "joint":
        return _joint(arm, worlds)
    world = worlds[sense]
    both = run_configs(world, world.world(TRAIN) / RECORDS)
    if arm.kind == "control":
        own = both[CONTROL]
        more: dict[str, Any] = {}
    else:
        own = both[world.patch_arm]
        more = {"align_families": _ALIGN_FAMILIES}
    more |= {"out": folder_of(worlds) / "runs" / f"{arm.name}-{sense}", "cache": cache_of(worlds)}
    return TrainConfig.model_validate({**own.model_dump(), **more})


def _joint(arm: Arm, worlds: Worlds) -> TrainConfig:
    """One training with as many steps as all singles together."""
    first = next(iter(worlds.values()))
    own = run_configs(first, first.world(TRAIN) / RECORDS)[CONTROL].model_dump()
    files: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    for sense, world in worlds.items():
        name = IN_COMPANY if arm.company else RECORDS
        files[sense] = {"records": world.world(TRAIN) / name}
        channels[sense] = {
            "encoder": world.encoder,
            "encoder_settings": world.encoder_settings,
            "fusion": world.fusion,
        }
    more = {
        "out": folder_of(worlds) / "runs" / arm.name,
        "cache": cache_of(worlds),
        "records": None,
        # Every file as often as every other, as for the singles.
        "mixture": {"files": files, "alpha": 0.0},
        "channels": channels,
        "lora_per_channel": arm.per_channel,
        "steps": sum(world.steps or 0 for world in worlds.values()),
        "align_steps": first.align_steps,
        "align_share": first.align_share,
        "align_families": _ALIGN_FAMILIES,
        "task": f"the embedded world, {', '.join(worlds)}",
    }
    return TrainConfig.model_validate({**own, **more})


def patch_of(arm: Arm, worlds: Worlds, sense: str) -> Path:
    """The folder of the arm's patch for a sense."""
    if arm.kind == "combined":
        return folder_of(worlds) / "combined" / arm.name
    return run_of(arm, worlds, sense).patch_folder


def folder_of(worlds: Worlds) -> Path:
    """Where everything of one seed lies."""
    return next(iter(worlds.values())).out.parent
