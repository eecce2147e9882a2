"""`DemoConfig`: all numbers of the demo in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pave.errors import ConfigError
from pave.patches import LoraSpec
from pave.patches.config import StoredType
from pave.renamed import renamed
from pave.train.config import MAX_SEED, Rate
from pave_world.demo.presets import PRESETS, Preset
from pave_world.scenes.scene import OLD_CHANNELS


class DemoConfig(BaseModel):
    """What the demo makes and how long it trains.

    Both runs, the LoRA-only control and the patch, get the same records, steps, batches, learning
    rates and seed; the patch alone has a fusion function and the channel.

    Example:
        >>> DemoConfig().base
        'smol'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field(
        "audio", description="The channel to learn: audio, scene3d, views or frames."
    )
    out: Path = Field(Path("outputs/demo"), description="Folder of everything that the demo makes.")
    base: str = Field("smol", description='The frozen base: "smol", a folder or a Hub id.')
    train_clips: int | None = Field(
        None,
        ge=1,
        description="Number of clips to train on; by default the number chosen for the channel.",
    )
    test_clips: int = Field(
        100,
        ge=2,
        description="Number of held-out clips to compare on; their scenes never occur in training.",
    )
    questions_per_clip: int = Field(10, ge=1, description="Most questions per clip.")
    steps: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="Optimiser steps of each run; by default the number chosen for the channel.",
    )
    batch_clips: int | None = Field(
        None,
        ge=1,
        le=2**16,
        description="Clips per forward pass, by default the number chosen for the channel; the "
        "questions about a clip share its prefix.",
    )
    accumulation: int = Field(1, ge=1, le=2**16, description="Forward passes per step.")
    questions_per_video: int = Field(10, ge=1, description="Most questions per clip and step.")
    lr_lora: Rate = Field(1.5e-3, description="Peak learning rate of the LoRA, in both runs.")
    lr_fusion: Rate = Field(3e-4, description="Peak learning rate of the fusion function.")
    lr_gate: Rate = Field(
        5e-3, description="Peak learning rate of the fusion's output norm, which starts at zero."
    )
    lora: LoraSpec = Field(
        LoraSpec(rank=16, alpha=32, dropout=0.0, targets=("q_proj", "k_proj", "v_proj", "o_proj")),
        description="The LoRA, the same in both runs. It adapts the attention only, because "
        "every further product costs time on a CPU.",
    )
    align_steps: int = Field(
        400,
        ge=0,
        description="Steps of the aligned start of the patch, in which no language model runs.",
    )
    encoder: str | None = Field(
        None, description="Encoder of the channel; by default that of the preset."
    )
    encoder_settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the encoder; by default those of the preset."
    )
    fusion: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of FusionConfig that differ from the defaults; by default those of "
        "the preset.",
    )
    align_share: float | None = Field(
        None,
        gt=0,
        le=2,
        description="Size of the residual after the aligned start; by default that of the preset.",
    )
    align_families: tuple[str, ...] = Field(
        (),
        description="Families of questions that the aligned start learns from; by default "
        "those chosen for the channel.",
    )
    focus_families: tuple[str, ...] = Field(
        (),
        description="Families of questions that both runs are asked more often; by default those "
        "chosen for the channel.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description='Precision of the two trainings; "auto" is bf16 if the processor multiplies it '
        "natively: half the time.",
    )
    patch_dtype: StoredType = Field(
        "fp32",
        description="The type in which both trained patches are stored; fp16 halves their files.",
    )
    seed: int = Field(
        1,
        ge=0,
        le=MAX_SEED,
        description="Seed of the world, the initial weights, the order of the data and the "
        "bootstrap; settings were tuned with seed 0.",
    )
    workers: int = Field(2, ge=1, description="Number of processes that make and encode clips.")
    threads: int = Field(
        1, ge=1, description="Number of threads of each training; the two run at the same time."
    )
    batch_questions: int = Field(
        48, ge=1, description="Questions answered at a time in the comparison."
    )
    max_new_tokens: int = Field(8, ge=1, description="Longest answer in the comparison, in tokens.")

    @model_validator(mode="before")
    @classmethod
    def _in_old_words(cls, values: Any) -> Any:
        """Folders of demos that were made when a channel was a sense, and audio sound."""
        values = renamed(values, {"sense": "channel"}, "demo settings")
        if isinstance(values, dict) and values.get("channel") in OLD_CHANNELS:
            return {**values, "channel": OLD_CHANNELS[values["channel"]]}
        return values

    @field_validator("channel")
    @classmethod
    def _has_a_preset(cls, channel: str) -> str:
        if channel not in PRESETS:
            raise ValueError(f"there is no demo of this channel; available: {', '.join(PRESETS)}")
        return channel

    def resolved(self) -> DemoConfig:
        """The same settings with nothing left open: from the preset and the processor."""
        from pave.train.precision import native_precision

        preset = self.preset
        update: dict[str, Any] = {
            "train_clips": self.train_clips or preset.clips,
            "steps": self.steps or preset.steps,
            "batch_clips": self.batch_clips or preset.batch_clips,
            "encoder": self.encoder or preset.encoder,
            "fusion": self.fusion or dict(preset.fusion),
            "align_share": self.align_share or preset.align_share,
            "align_families": self.align_families or preset.align_families,
            "focus_families": self.focus_families or preset.focus_families,
        }
        # The preset's settings are its encoder's; another encoder would not know them.
        if not self.encoder and not self.encoder_settings:
            update["encoder_settings"] = dict(preset.settings)
        if self.precision == "auto":
            update["precision"] = native_precision()
        return self.model_copy(update=update)

    @property
    def preset(self) -> Preset:
        """What was chosen for the channel."""
        return PRESETS[self.channel]

    @property
    def patch_arm(self) -> str:
        """Name of the patch among the arms."""
        return f"{self.channel}-patch"

    def world(self, split: str) -> Path:
        """Folder of one split."""
        return self.out / "world" / split

    def clips(self, split: str) -> int:
        """Number of clips of one split, `train` or `test`.

        Raises:
            ConfigError: If it is another word.

        Example:
            >>> DemoConfig(channel="views").clips("train")
            600
        """
        if split == "test":
            return self.test_clips
        if split == "train":
            return self.train_clips or self.preset.clips
        raise ConfigError(f"unknown split {split!r}; a demo has train and test")

    @property
    def cache(self) -> Path:
        """The token cache that both runs and the comparison share."""
        return self.out / "store"
