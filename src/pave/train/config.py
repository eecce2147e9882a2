"""`TrainConfig`: all settings of a training run in one object, and what they must agree on.

`pave.train.settings` reads one from a YAML file and overrides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pave.bases.inputs import FrameChoice, InputSpec
from pave.bases.loading import Loading
from pave.fusion_registry import CONCAT
from pave.patches import LoraSpec
from pave.patches.config import StoredType
from pave.renamed import renamed
from pave.train.counterfactual import Counterfactual
from pave.train.mixture import RecordFile, RecordMixture
from pave.train.precision import Precision
from pave.train.trainer_fields import check_trainer
from pave.train.validation import Validation

MAX_SEED = 2**32 - 1
"""The largest seed that every generator takes; NumPy's is the one that takes no more."""

OLD_NAMES = {"store": "cache", "on_top_of": "base_patches", "lora_below": "base_lora"}
"""Old name of a setting -> its present one."""

Rate = Annotated[float, Field(gt=0, le=1e30)]
"""A learning rate; what is far above leaves the numbers that a GPU has."""


Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""Programs that show curves of runs."""


class TrainedChannel(BaseModel):
    """One of several channels of a patch: what reads it, and the fusion.

    Example:
        >>> TrainedChannel(encoder="mel", fusion={"hidden": 64}).encoder
        'mel'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = Field(description="Encoder of the channel, by its registered name.")
    encoder_settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the encoder."
    )
    fusion: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the fusion function."
    )


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
    records: Path | None = Field(
        None, description="Training records, of any format; for several files, see `mixture`."
    )
    mixture: RecordMixture | None = Field(
        None,
        description="Several files of records instead of one: `files` maps names to `records` "
        "and optionally the `channels` and `families` to use; `alpha` sets how often each is "
        "drawn.",
    )
    out: Path = Field(
        description="Folder of the run: checkpoints, log, all settings, and the finished patch."
    )
    cache: Path | None = Field(
        None,
        description="Folder of the token cache, by default `out`/cache. Several runs can share it.",
    )

    channel: str | None = Field(
        None, description="Side channel of the patch; null trains the LoRA-only control."
    )
    encoder: str | None = Field(None, description="Encoder of the channel, by its registered name.")
    encoder_settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the encoder, for example --encoder-settings.n_mels 32.",
    )
    fusion: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the fusion function, for example --fusion.hidden 256.",
    )
    channels: dict[str, TrainedChannel] = Field(
        default_factory=dict,
        description="For a patch with several channels: each with its `encoder`, "
        "`encoder_settings`, and `fusion`. Leave out `channel` and the three "
        "settings of a single channel.",
    )
    lora: LoraSpec | None = Field(
        default_factory=LoraSpec, description="Rank, alpha, dropout and targets; null for no LoRA."
    )
    lora_per_channel: bool = Field(
        False,
        description="Give each of several channels such a LoRA, which works only where the channel "
        "is present, instead of one that they share.",
    )
    inputs: InputSpec = Field(
        InputSpec(),
        description="How the base gets its inputs, if not in the default way of its family; for "
        "example, as in the authors' code.",
    )
    start_from: str | None = Field(
        None,
        description="Start from the weights of a finished patch (folder or Hub id) or of a "
        "checkpoint, with a fresh optimiser. Records, rates, steps, and processes may be others; "
        "base, channels, fusion, and LoRA must agree.",
    )
    base_patches: tuple[str, ...] = Field(
        (),
        description="Finished patches (folders or Hub ids) on top of which the new one is "
        "trained. They are active but frozen.",
    )
    base_lora: Literal["frozen", "continued"] = Field(
        "frozen",
        description="What happens to the LoRA of the base patches. frozen: it stays, and the "
        "new patch gets its own LoRA beside it. continued: the new patch trains it "
        "further.",
    )
    prompt: str = Field(
        "{question}", description="Template of the prompt; it must contain {question} once."
    )
    task: str | None = Field(None, description="Name of the task, for the patch's card.")
    frames: FrameChoice | None = Field(
        None,
        description="Number of evenly spread frames per clip, or auto for the frames that the "
        "base's own video processor takes. By default the base's own number.",
    )

    steps: int | None = Field(
        None, ge=1, le=10**9, description="Number of optimiser steps. Set either steps or epochs."
    )
    epochs: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Number of passes over all questions; 1 if neither steps nor epochs is set.",
    )
    batch_clips: int = Field(
        4, ge=1, le=2**16, description="Number of clips per forward pass and process."
    )
    questions_per_video: int = Field(
        1,
        ge=1,
        description="How many questions about one clip may share a sequence; the loss is that of "
        "separate questions. 1, as in the paper, is the default.",
    )
    accumulation: int = Field(
        1,
        ge=1,
        le=2**16,
        description="Number of forward passes per optimiser step. The loss is the mean over all "
        "answer tokens of the step.",
    )

    lr_lora: Rate = Field(2e-4, description="Peak learning rate of the LoRA.")
    lr_fusion: Rate = Field(
        1e-3, description="Peak learning rate of the fusion function, except its output norm."
    )
    lr_gate: Rate = Field(
        1e-3,
        description="Peak learning rate of the patch's gate, which is the output norm of the "
        "fusion and starts at zero, and of a question gate.",
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="AdamW weight decay of weight matrices; norms and biases have none.",
    )
    warmup: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="Share of the steps during which the learning rates rise from zero.",
    )
    max_grad_norm: float = Field(
        1.0, gt=0, description="Gradients with a larger norm are scaled down to this one."
    )
    align_steps: int = Field(
        0,
        ge=0,
        description="Steps of the aligned start, in which the fusion alone learns the words of "
        "the answers before training. It is fast, because no language model runs.",
    )
    align_families: tuple[str, ...] = Field(
        (),
        description="Families of questions (meta.family) that the aligned start learns from; by "
        "default all that need the channel.",
    )
    align_clips: Path | None = Field(
        None,
        description="Records file of clips for an aligned start without answers: what the fusion "
        "adds gets the statistics and the attention of plain videos. Their questions are not "
        "read and need no answers; training itself uses only records. null for the words of the "
        "answers.",
    )
    align_share: float = Field(
        0.7,
        gt=0,
        le=2,
        description="Size of the residual after the aligned start, relative to that of the visual "
        "tokens.",
    )
    counterfactual: Counterfactual | None = Field(
        None,
        description="Training on clips that exchange their channel, so that answers follow the "
        "channel where picture and channel disagree; null for none.",
    )
    modality_dropout: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability with which a clip is shown without its channel, so that the LoRA "
        "alone has to answer; null for none.",
    )
    gate_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the clips from which nothing but a question gate learns "
        "(fusion.question_gate): it is to open where the channel helps on new clips.",
    )
    precision: Precision = Field(
        "fp32",
        description="Floating-point type in which the base is held during training; trained "
        "weights are always fp32. bf16 uses autocast. auto is bf16 if the device multiplies bf16 "
        "natively, and fp32 otherwise.",
    )
    patch_dtype: StoredType = Field(
        "fp32",
        description="The type that the finished patch is stored in; fp16 and bf16 halve its files "
        "and round its weights.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Recompute activations in the backward pass. This needs less memory and a "
        "third more time.",
    )

    engine: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="How the processes of torchrun share the work. ddp: each holds the whole base. "
        "fsdp: each holds a share of its layers, for bases that do not fit on one GPU.",
    )
    trainer: dict[str, Any] = Field(
        default_factory=dict,
        description="Other fields of the Hugging Face Trainer (`TrainingArguments`), for "
        "example --trainer.optim adafactor. Fields that pave sets itself are "
        "refused with a reason.",
    )

    seed: int = Field(
        0,
        ge=0,
        le=MAX_SEED,
        description="Seed of the initial weights, the order of the data, and dropout.",
    )
    save_every: int = Field(200, ge=1, description="Number of steps between checkpoints.")
    log_every: int = Field(10, ge=1, description="Number of steps between rows of the log.")
    validation: Validation | None = Field(
        None,
        description="Scores of clips that are not trained on, every few steps; keeps the best "
        "patch and can stop the run early. null for none.",
    )
    track: tuple[Tracker, ...] = Field(
        (),
        description="Trackers that also receive the curves: tensorboard, wandb, mlflow or "
        "trackio, each an extra of pave. The run folder always has log.csv and "
        "run.html.",
    )
    workers: int = Field(
        1,
        ge=0,
        description="Number of processes that read media while tokens are computed for the first "
        "time. With 0, this process reads them, and a clip that crashes a decoder ends it.",
    )
    resume: Literal["auto", "never"] = Field(
        "auto",
        description='"auto" resumes from the newest complete checkpoint in `out`; "never" starts '
        "from the beginning.",
    )

    @model_validator(mode="before")
    @classmethod
    def _present_names(cls, values: Any) -> Any:
        return renamed(values, OLD_NAMES, "training settings")

    @field_validator("trainer")
    @classmethod
    def _known_fields(cls, block: dict[str, Any]) -> dict[str, Any]:
        return check_trainer(block)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("set steps or epochs, not both")
        if self.prompt.count("{question}") != 1:
            raise ValueError("the prompt must contain {question} once")
        if self.base_lora == "continued" and not self.base_patches:
            raise ValueError(
                "base_lora=continued needs a patch in base_patches whose LoRA can be trained "
                "further"
            )
        if self.start_from is not None and self.align_steps:
            raise ValueError(
                "start_from brings weights, which an aligned start would replace; set align_steps "
                "to 0"
            )
        self._check_align_clips()
        if self.counterfactual and self.modality_dropout:
            raise ValueError(
                "set counterfactual or modality_dropout, not both; a cell needs its channel"
            )
        return self

    def _check_align_clips(self) -> None:
        """What does not go with an aligned start from clips."""
        if self.align_clips is None:
            return
        if not self.align_steps:
            raise ValueError(
                "align_clips says what the aligned start learns from, but align_steps is 0; set "
                "align_steps (100, for example), or leave align_clips out"
            )
        if self.align_families:
            raise ValueError(
                "align_families chooses questions, which an aligned start from align_clips does "
                "not read; leave one of the two out"
            )
        if self.engine == "fsdp":
            raise ValueError(
                "align_clips needs the whole language model in each process; leave it out, or set "
                "engine to ddp"
            )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        """Settings of channels that contradict each other."""
        if (self.channel is None) != (self.encoder is None):
            raise ValueError(
                "a channel needs an encoder, and an encoder its channel; give both or neither"
            )
        if self.channels and (self.channel or self.encoder_settings or self.fusion):
            raise ValueError(
                "set channel, encoder, encoder_settings and fusion, or channels, but not both"
            )
        if len(self.channels) == 1:
            raise ValueError(
                "channels is for two or more; for a single one, set channel and encoder"
            )
        if self.lora_per_channel and (self.lora is None or not self.channels):
            raise ValueError("lora_per_channel needs channels and a LoRA")
        if self.lora_per_channel and self.base_lora == "continued":
            raise ValueError(
                "a continued LoRA cannot be divided by channel; leave out lora_per_channel "
                "or base_lora"
            )
        self._check_concat()
        if self.parts:
            return self
        if self.lora is None:
            raise ValueError("nothing to train; set a channel, a LoRA, or both")
        if self.align_steps:
            raise ValueError(
                "align_steps needs a channel; the LoRA-only control has nothing to align"
            )
        if self.counterfactual or self.modality_dropout:
            raise ValueError(
                "counterfactual and modality_dropout need a channel; the LoRA-only control has "
                "no channel to exchange or to leave out"
            )
        return self

    def _check_concat(self) -> None:
        """What does not go with tokens that are appended."""
        if all(part.fusion.get("type") != CONCAT for part in self.parts.values()):
            return
        if self.channels:
            raise ValueError("a fusion of type concat is for a patch with one channel")
        if self.align_steps:
            raise ValueError("align_steps needs a fusion that adds to the tokens; concat appends")
        if self.modality_dropout:
            raise ValueError(
                "modality_dropout would leave the places of a concat arm empty; leave it out"
            )

    @model_validator(mode="after")
    def _check_records(self) -> Self:
        if (self.records is None) == (self.mixture is None):
            raise ValueError("set the training records: records for one file, mixture for several")
        # For the control they say which of its clips are one, as they do for the patch.
        if self.mixture is None or not self.parts:
            return self
        for name, file in self.mixture.files.items():
            odd = [channel for channel in file.channels or () if channel not in self.parts]
            if odd:
                raise ValueError(
                    f"mixture.files.{name}.channels: the patch has no channel {odd[0]!r}; it has "
                    f"{', '.join(self.parts) or 'none'}"
                )
        return self

    @property
    def parts(self) -> dict[str, TrainedChannel]:
        """Every channel with its settings; none of the LoRA-only control."""
        if self.channel is None or self.encoder is None:
            return self.channels
        one = TrainedChannel(
            encoder=self.encoder, encoder_settings=self.encoder_settings, fusion=self.fusion
        )
        return {self.channel: one}

    @property
    def gated(self) -> tuple[str, ...]:
        """The channels whose fusion has a gate that reads questions."""
        found = []
        for channel, part in self.parts.items():
            if part.fusion.get("question_gate"):
                found.append(channel)
        return tuple(found)

    @property
    def files(self) -> dict[str, RecordFile]:
        """The files of records by name; a single one has an empty name."""
        if self.records is not None:
            return {"": RecordFile(records=self.records)}
        assert self.mixture is not None  # one of them is set
        return self.mixture.files

    @property
    def cache_folder(self) -> Path:
        """Where tokens are cached."""
        return self.cache or self.out / "cache"

    @property
    def patch_folder(self) -> Path:
        """Where the finished patch goes."""
        return self.out / "patch"

    @property
    def best_folder(self) -> Path:
        """Where the patch goes that did best in validation."""
        return self.out / "best"
