"""The arms of `benchmarks/few_records.py`: the same few records, and another start each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pave.train import TrainConfig
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TRAIN
from pave_world.demo.training import CONTROL, run_configs
from pave_world.films.make import RECORDS


@dataclass(frozen=True)
class Arm:
    """One way to begin.

    Attributes:
        name: Of its run and of its column.
        title: How the tables call it.
        hears: Whether it has the channel.
        clips: Whether it looks at all clips beforehand, without their questions.
        start: Settings of its aligned start.
    """

    name: str
    title: str
    hears: bool = True
    clips: bool = False
    start: dict[str, Any] = field(default_factory=dict)

    def settings(self, world: DemoConfig, few: Path) -> TrainConfig:
        """Its training.

        Args:
            world: What all arms share.
            few: The records with questions.
        """
        both = run_configs(world, few)
        own = both[world.patch_arm] if self.hears else both[CONTROL]
        more: dict[str, Any] = {"out": world.out / "runs" / self.name}
        if self.hears:
            more |= self.start
        if self.clips:
            more["align_clips"] = world.world(TRAIN) / RECORDS
        return TrainConfig.model_validate({**own.model_dump(), **more})


LORA = Arm("lora", "LoRA-only", hears=False)
PLAIN = Arm("plain", "no aligned start", start={"align_steps": 0})
WORDS = Arm("words", "aligned start, words of the answers", start={"align_steps": 400})
STATISTICS = Arm("statistics", "aligned start, all clips", clips=True, start={"align_steps": 100})
ARMS = (LORA, PLAIN, WORDS, STATISTICS)
