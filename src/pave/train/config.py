"""`TrainConfig`: all settings of a training run in one object, read from YAML and overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pave.bases.inputs import FrameChoice, InputSpec
from pave.bases.loading import Loading
from pave.errors import ConfigError, first_problem
from pave.patches import LoraSpec
from pave.patches.config import StoredType
from pave.renamed import renamed
from pave.texts import read_settings
from pave.train.precision import Precision
from pave.train.recipes import settings_file

MAX_SEED = 2**32 - 1
"""The largest seed that every generator takes; NumPy's is the one that takes no more."""

OLD_NAMES = {"store": "cache", "on_top_of": "base_patches", "lora_below": "base_lora"}
"""Old name of a setting -> its present one."""

Rate = Annotated[float, Field(gt=0, le=1e30)]
"""A learning rate; what is far above leaves the numbers that a GPU has."""


class TrainConfig(Loading):
    """Everything that decides how a patch is trained.

    A patch has a channel, so a fusion function, and a LoRA. Leave the channel out for the control
    that every result needs: the same LoRA on the same records without the new channel. Leave the
    LoRA out to train the fusion alone.

    Example:
        >>> TrainConfig(records="train.jsonl", out="runs/lora-only", steps=500).lr_lora
        0.0002
    """

    base: str = Field("smol", description='The frozen base: a folder, a Hub id, or "smol".')
    records: Path = Field(description="JSONL file of training records.")
    out: Path = Field(
        description="Run folder: checkpoints, log, resolved settings and the finished patch."
    )
    cache: Path | None = Field(
        None,
        description="Folder of the token cache; `out`/cache when not given. Share it between runs.",
    )

    channel: str | None = Field(
        None, description="Side channel the patch listens to; null trains the LoRA-only control."
    )
    encoder: str | None = Field(None, description="Encoder of the channel, by its registered name.")
    encoder_settings: dict[str, Any] = Field(
        default_factory=dict,
        description="The encoder's settings, as in --encoder-settings.n_mels 32.",
    )
    fusion: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the fusion function, as in --fusion.hidden 256.",
    )
    lora: LoraSpec | None = Field(
        default_factory=LoraSpec, description="Rank, alpha, dropout and targets; null for no LoRA."
    )
    inputs: InputSpec = Field(
        InputSpec(),
        description="How the base is fed, e.g. as the authors do; the base's own way if left.",
    )
    base_patches: tuple[str, ...] = Field(
        (),
        description="Finished patches (folders or Hub ids) that are at work, frozen, while the "
        "new one trains on top of them.",
    )
    base_lora: Literal["frozen", "continued"] = Field(
        "frozen",
        description="The LoRA of the base patches. frozen: the new patch gets one of its own "
        "beside it; continued: the new patch trains it on, in its place.",
    )
    prompt: str = Field(
        "{question}", description="How a question is put to the model, with {question} in it."
    )
    task: str | None = Field(None, description="Name of the task, for the patch's card.")
    frames: FrameChoice | None = Field(
        None,
        description="Frames sampled evenly from a clip, or auto for those that the base's own "
        "processor takes; the base's own number when null.",
    )

    steps: int | None = Field(
        None, ge=1, le=10**9, description="Optimiser steps. Give either steps or epochs."
    )
    epochs: float | None = Field(
        None, gt=0, le=1e6, description="Passes over all questions; 1 when neither is given."
    )
    batch_clips: int = Field(
        4, ge=1, le=2**16, description="Sequences (one clip each) in a forward pass, per process."
    )
    questions_per_video: int = Field(
        1,
        ge=1,
        description="Most questions of one clip that share a sequence, with the loss of separate "
        "ones; 1 is the paper's way.",
    )
    accumulation: int = Field(
        1,
        ge=1,
        le=2**16,
        description="Forward passes per optimiser step; the loss stays the mean over answer "
        "tokens.",
    )

    lr_lora: Rate = Field(2e-4, description="Peak learning rate of the LoRA.")
    lr_fusion: Rate = Field(
        1e-3, description="Peak learning rate of the fusion function, except its output norm."
    )
    lr_gate: Rate = Field(
        1e-3,
        description="Peak learning rate of the zero-initialised output norm, the patch's gate.",
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="AdamW weight decay of matrices; norms and biases have none.",
    )
    warmup: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="Share of the steps in which the learning rates rise from zero.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    align_steps: int = Field(
        0,
        ge=0,
        description="Steps of the aligned start: the fusion alone learns the answers' words "
        "before training (cheap).",
    )
    align_families: tuple[str, ...] = Field(
        (),
        description="Only questions of these families (meta.family) teach the aligned start; all "
        "of the channel if empty.",
    )
    align_share: float = Field(
        0.7,
        gt=0,
        le=2,
        description="Size of the residual after the aligned start, as a share of the visual "
        "tokens' size.",
    )
    precision: Precision = Field(
        "fp32",
        description="The type of the base, whatever its files hold; what trains stays fp32. bf16 "
        "runs forward passes under autocast. auto is bf16 where the device multiplies it, else "
        "fp32.",
    )
    patch_dtype: StoredType = Field(
        "fp32",
        description="The type that the finished patch is stored in; fp16 and bf16 halve its files "
        "and round its weights.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations backward: less memory, a third more time."
    )

    seed: int = Field(
        0, ge=0, le=MAX_SEED, description="Seed of initial weights, order of the data and dropout."
    )
    save_every: int = Field(200, ge=1, description="Steps between checkpoints to resume from.")
    log_every: int = Field(10, ge=1, description="Steps between rows of the log.")
    workers: int = Field(
        1,
        ge=0,
        description="Processes that read media while tokens are computed for the first time; with "
        "0 this one does, and ends with a clip that crashes a decoder.",
    )
    resume: Literal["auto", "never"] = Field(
        "auto",
        description='"auto" goes on from the newest complete checkpoint in `out`; "never" starts '
        "afresh.",
    )

    @model_validator(mode="before")
    @classmethod
    def _present_names(cls, values: Any) -> Any:
        return renamed(values, OLD_NAMES, "training settings")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        if (self.channel is None) != (self.encoder is None):
            raise ValueError(
                "a channel needs an encoder, and an encoder its channel; give both or neither"
            )
        if self.prompt.count("{question}") != 1:
            raise ValueError("the prompt must contain {question} once")
        if self.channel is None and self.lora is None:
            raise ValueError("nothing to train; give a channel, a LoRA, or both")
        if self.base_lora == "continued" and not self.base_patches:
            raise ValueError(
                "base_lora=continued needs a patch in base_patches whose LoRA is trained on"
            )
        if self.channel is None and self.align_steps:
            raise ValueError(
                "align_steps needs a channel; the LoRA-only control has nothing to align"
            )
        return self

    @property
    def cache_folder(self) -> Path:
        """Where tokens are cached."""
        return self.cache or self.out / "cache"

    @property
    def patch_folder(self) -> Path:
        """Where the finished patch goes."""
        return self.out / "patch"


OF_THE_CHANNEL = (
    "channel",
    "encoder",
    "encoder_settings",
    "fusion",
    "align_steps",
    "align_families",
    "align_share",
)
"""Settings that mean nothing without a channel."""


def without_channel(config: TrainConfig) -> TrainConfig:
    """The settings of the LoRA-only control: all that is left without the channel.

    Raises:
        ConfigError: If nothing is left to train.

    Example:
        >>> sound = TrainConfig(records="r", out="o", channel="audio", encoder="mel", align_steps=9)
        >>> without_channel(sound).align_steps
        0
    """
    if config.lora is None:
        raise ConfigError("a control is a LoRA without the channel, and `lora` is null here")
    # What is left out gets its default, which asks nothing of a channel.
    return TrainConfig.model_validate(config.model_dump(exclude=set(OF_THE_CHANNEL)))


def load_config(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Read settings from a YAML file, then put overrides on top.

    Args:
        path: YAML file with a mapping of `TrainConfig` fields, the name of a recipe, or None. Its
            `records`, `out` and `cache` are relative to the current folder, as on the command line.
        overrides: Values by field; a dotted name reaches inside, e.g. `{"lora.rank": 8}`.

    Raises:
        ConfigError: If the file cannot be read, or a setting is unknown or wrong; the message names
            it.
    """
    values = {}
    if path is not None:
        values = read_settings(settings_file(str(path)), ConfigError, "steps: 500")
    try:
        # Old names first, so that an override by the present name replaces what it should.
        values = renamed(values, OLD_NAMES, str(path))
        for name, value in renamed(overrides or {}, OLD_NAMES, "overrides").items():
            _set(values, name.split("."), value)
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        field, message = first_problem(error)
        where = f"{field}: " if field else ""
        raise ConfigError(f"training settings: {where}{message}") from error
    except ValueError as error:  # a setting under both its names
        raise ConfigError(f"training settings: {error}") from error


def _set(values: dict[str, Any], names: list[str], value: Any) -> None:
    """Put a value at a dotted name, making the objects on the way."""
    for name in names[:-1]:
        inner = values.get(name)
        # A copy, so that the caller's own mapping stays as it is.
        values[name] = dict(inner) if isinstance(inner, dict) else {}
        values = values[name]
    values[names[-1]] = value
