"""What a patch is, as data: `PatchConfig`, the content of `patch.json`, and its parts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from pave.bases.inputs import FrameChoice, InputSpec
from pave.bases.prompt import PromptStyle
from pave.errors import first_problem
from pave.fusion import FusionSettings, read_fusion_config
from pave.patches.lora_options import check_options
from pave.patches.probe import Probe
from pave.renamed import renamed

# Raised when an older pave could no longer read the file; new fields with a default do not.
SCHEMA_VERSION = 2
SINGLE_CHANNEL = 1
"""Version of the files of patches with one channel or none, which older versions read, too."""

StoredType = Literal["fp32", "fp16", "bf16"]
"""Types in which a patch's weights may be stored."""
_CHANNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
# Options of a LoRA that older versions do not know.
_NEWER = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "init_lora_weights")
# Bounds for the expressions in rank_pattern and alpha_pattern.
_MOST_PATTERNS, _LONGEST_PATTERN, _MOST_REPEATED = 1000, 200, 3
_REPEATED = re.compile(r"[*+?{]")
_GROUP_REPEATED = re.compile(r"\)[*+?{]")
# Of `patch.json` where they are empty.
_LEFT_OUT = frozenset(
    {"channels", "base_patches", "frames", "chat", "datasets", "language", "example", "probe"}
)


class LoraSpec(BaseModel):
    """The low-rank adapter that a patch puts into the language model (never into a tower).

    The authors train rank 64, alpha 16, dropout 0.05 on every projection of the language model;
    rank 16 with alpha 32 is enough for small bases and the default here.

    Example:
        >>> LoraSpec(rank=64, alpha=16).rank
        64
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(16, ge=1, le=2**16, description="Rank of the LoRA.")
    alpha: int = Field(
        32, ge=1, le=2**31, description="Alpha; the update is scaled by alpha / rank."
    )
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the update in training.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Names of the modules of the language model to adapt, or their endings; by "
        "default those of the family.",
    )
    use_rslora: bool = Field(
        False, description="Scale the update by alpha / sqrt(rank), which suits high ranks."
    )
    use_dora: bool = Field(
        False,
        description="Train the length of each row of the adapted weights separately from its "
        "direction (DoRA). It costs time, and the patch cannot be combined with "
        "others.",
    )
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=2**16)]] = Field(
        default_factory=dict,
        description="Other ranks for some modules: maps the end of a module's name, or a "
        "regular expression for it, to the rank.",
    )
    alpha_pattern: dict[str, Annotated[int, Field(ge=1, le=2**31)]] = Field(
        default_factory=dict, description="Other alphas for some modules, as in rank_pattern."
    )
    init_lora_weights: Literal[True, "gaussian"] = Field(
        True,
        description="How A is initialised: true for a uniform distribution, or gaussian. B "
        "starts at zero.",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_peft(cls, values: Any) -> Any:
        """Options of peft's that a patch cannot have are refused with the reason."""
        if not isinstance(values, dict):
            return values
        return check_options(values, list(cls.model_fields))

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _expressions(cls, pattern: dict[str, int]) -> dict[str, int]:
        if len(pattern) > _MOST_PATTERNS:
            raise ValueError(f"there may be at most {_MOST_PATTERNS:,} patterns")
        for key in pattern:
            try:
                re.compile(key)
            except (re.error, OverflowError) as error:
                raise ValueError(
                    f"{key[:200]!r} is not a valid regular expression ({error})"
                ) from error
            # The file may be anybody's, and some expressions take years to match nothing.
            if len(key) > _LONGEST_PATTERN or _GROUP_REPEATED.search(key):
                raise ValueError(
                    f"{key[:200]!r} is too long or repeats a group; use a part of a module's name, "
                    "such as layers.0.self_attn"
                )
            if len(_REPEATED.findall(key)) > _MOST_REPEATED:
                raise ValueError(
                    f"{key!r} repeats too much (*, +, ? or {{}}); use a part of a module's name, "
                    "such as layers.0.self_attn"
                )
        return pattern

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out newer options that are not used: older versions of pave refuse them."""
        fields: dict[str, Any] = write(self)
        for name in _NEWER:
            if fields.get(name) == type(self).model_fields[name].get_default(
                call_default_factory=True
            ):
                del fields[name]
        return fields

    def rank_of(self, module: str) -> int:
        """The rank for a module, by its name in the plain model."""
        return _by_pattern(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """The factor of the update of a module, by its name in the plain model."""
        alpha, rank = _by_pattern(self.alpha_pattern, module, self.alpha), self.rank_of(module)
        # Written as peft does, so that it is the same number to the bit.
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    @field_validator("targets")
    @classmethod
    def _plain_names(cls, targets: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for target in targets or ():
            # They go into a regular expression, where a dot or a star would match a tower.
            if not re.fullmatch(r"\w+", target):
                raise ValueError(
                    f"LoRA targets must be plain module names such as q_proj, got {target!r}"
                )
        return targets


def _by_pattern(pattern: Mapping[str, int], module: str, default: int) -> int:
    """The number of the first key that fits the end of a module's name, as peft looks it up."""
    for key, number in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return number
    return default


class EncoderSpec(BaseModel):
    """Which encoder turns a channel's media into the tokens that a patch was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Name in the registry of `pave.channels`.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Its settings, including defaults."
    )


class ChannelSpec(BaseModel):
    """One channel of a patch: what makes its tokens, and the fusion that reads them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: EncoderSpec | None = Field(
        None, description="Encoder of the channel; none if tokens are passed ready-made."
    )
    fusion: SerializeAsAny[FusionSettings] = Field(
        description="Settings of the channel's fusion function; its `type` says which one."
    )
    lora: LoraSpec | None = Field(
        None,
        description="Shape of a LoRA that works only where the channel is present; none if the "
        "channels of the patch share one.",
    )

    @field_validator("fusion", mode="before")
    @classmethod
    def _read_fusion(cls, fields: Any) -> Any:
        return _fusion_settings(fields)


class BaseId(BaseModel):
    """The base that a patch belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the base: a Hub id, a folder, or smol.")
    revision: str | None = Field(None, description="Commit on the Hub, if it was known.")
    quantized: str | None = Field(None, description="How its weights were quantised, if they were.")
    fingerprint: dict[str, Any] = Field(
        description="Properties that must agree: model type, widths, vocabulary, token layout."
    )
    weights: dict[str, str] = Field(
        default_factory=dict,
        description="Digests of its weights, `language` and `tower`, if they were known.",
    )

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not known, so that such files are those of older versions."""
        fields: dict[str, Any] = write(self)
        for name in ("weights", "revision", "quantized"):
            if not fields.get(name):
                fields.pop(name, None)
        return fields


class BasePatch(BaseModel):
    """A patch that another one was trained on top of, and needs beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Its name in training; on a model, its name there.")
    channel: str | None = Field(None, description="Its channel.")
    task: str | None = Field(None, description="The channel that it was trained for.")
    files: dict[str, str] = Field(
        default_factory=dict, description="sha256 of its weight files, by which it is recognised."
    )
    lora: Literal["frozen", "continued"] = Field(
        "frozen",
        description="frozen: its LoRA works beside the LoRA of the patch. continued: the LoRA "
        "of the patch is that LoRA, trained further.",
    )


class ChatSpec(BaseModel):
    """The chat format that a patch was trained in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = Field(1, description="Version of the format of `style`.")
    # Its fields have bounds of length: this file may be anybody's.
    style: PromptStyle = Field(description="The text around turns.")

    @property
    def turn(self) -> str:
        """A turn about a video, as the style writes it, in a line."""
        style = self.style
        # As it is trained: with the answer and its end.
        parts = [style.head, "[video]", style.after_video + style.question, "[question]"]
        return repr("".join([*parts, style.ask + style.answer, "[answer]", style.end]))


class DataSource(BaseModel):
    """Data that a patch was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="A data set on the Hub, or its name.")
    licence: str | None = Field(None, description="Its licence.")


class Example(BaseModel):
    """One question about one clip, answered without and with a patch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: str = Field(description="The clip: a file's name, an address, or the world's seed.")
    question: str = Field(description="The question.")
    base: str = Field(description="The answer of the base.")
    patch: str = Field(description="The answer with the patch.")
    wanted: str | None = Field(None, description="The right answer, if it is known.")
    note: str = Field("", description="How the example was chosen.")


class PatchConfig(BaseModel):
    """The content of `patch.json`.

    A patch has a fusion with its channel, or a LoRA, or both; one without a channel is a LoRA-only
    control. One with several channels has a fusion for each, and says so in `channels`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1, 2] = Field(
        1, description="Version of the format of this file: 2 with several channels, 1 otherwise."
    )
    pave_version: str = Field(description="Version of pave that wrote the patch.")
    base: BaseId
    channel: str | None = Field(
        None, description="The side channel of the patch; none for a LoRA-only patch."
    )
    encoder: EncoderSpec | None = Field(
        None, description="Encoder of the channel; none if tokens are passed ready-made."
    )
    fusion: SerializeAsAny[FusionSettings] | None = Field(
        None, description="Settings of the fusion function; its `type` says which one."
    )
    channels: dict[str, ChannelSpec] = Field(
        default_factory=dict,
        description="For a patch with several channels: each with its encoder and fusion. "
        "`channel`, `encoder` and `fusion` are then null.",
    )
    lora: LoraSpec | None = Field(None, description="Shape of the LoRA.")
    inputs: InputSpec = Field(
        InputSpec(),
        description="How the base gets its inputs, if that differs from the default of its family.",
    )
    chat: ChatSpec | None = Field(
        None,
        description="The chat format in training, which is also used for questions; the base's "
        "own if an older patch does not record it.",
    )
    base_patches: list[BasePatch] = Field(
        default_factory=list,
        description="Patches that it was trained on top of; they must be loaded first.",
    )
    prompt: str = Field(
        "{question}", description="Template of a question in training; `ask` uses the same."
    )
    frames: FrameChoice | None = Field(
        None,
        description="Frames per clip in training, or auto if the base's own processor chose "
        "them; `ask` and `pave eval` use the same.",
    )
    task: str | None = Field(None, description="Name of the task that it was trained for.")
    licence: str | None = Field(None, description="Licence of the patch's weights.")
    dtype: StoredType = Field(
        "fp32",
        description="Floating-point type of the tensors in the weight files; pave always "
        "computes with them in fp32.",
    )
    datasets: list[DataSource] = Field(
        default_factory=list, description="Data sets that it was trained on, with their licences."
    )
    language: list[str] = Field(
        default_factory=list, description="Language codes of the questions, such as en."
    )
    example: Example | None = Field(
        None, description="A question with the answers with and without the patch."
    )
    probe: Probe | None = Field(
        None, description="Logits on a fixed input, with which loading can be checked."
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Summary of the training run: data, steps, seed, rates."
    )
    scores: list[dict[str, Any]] = Field(
        default_factory=list, description="Rows of the score table on the card: base and patch."
    )
    files: dict[str, str] = Field(
        default_factory=dict, description="sha256 of every weight file, by its path in the folder."
    )

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        values = renamed(values, {"stands_on": "base_patches"}, "patch.json")
        if isinstance(values, dict) and "frames" not in values:
            # Older files say it in the summary alone, where nothing is checked.
            training = values.get("training")
            frames = None
            if isinstance(training, dict):
                frames = training.get("frames")
            if type(frames) is int and frames > 0:  # True is an `int` to Python, but no count
                values = values | {"frames": frames}
        return values

    @field_validator("fusion", mode="before")
    @classmethod
    def _read_fusion(cls, fields: Any) -> Any:
        return _fusion_settings(fields)

    @model_validator(mode="after")
    def _consistent_channels(self) -> PatchConfig:
        if len(self.channels) == 1:  # there is one way to say it, which older versions read
            raise ValueError("a patch with one channel names it in `channel`")
        if self.channels and (self.channel or self.encoder or self.fusion):
            raise ValueError("set channel, encoder and fusion, or channels, but not both")
        for channel in self.channels:  # it names files and modules
            if not _CHANNEL.fullmatch(channel):
                raise ValueError(
                    f"{channel!r} cannot be the name of one of several channels; use a single word"
                )
        if self.lora is not None and any(spec.lora for spec in self.channels.values()):
            raise ValueError("channels share a LoRA or have one each, not both")
        if (self.schema_version > SINGLE_CHANNEL) != bool(self.channels):
            raise ValueError(
                f"several channels need schema version {SCHEMA_VERSION}, and one channel needs "
                f"{SINGLE_CHANNEL}"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> PatchConfig:
        if self.prompt.count("{question}") != 1:
            raise ValueError("the prompt must contain {question} once")
        # A LoRA-only control has neither.
        if (self.channel is None) != (self.fusion is None):
            raise ValueError("a channel needs a fusion and a fusion needs a channel")
        if self.channel is None and self.encoder is not None:
            raise ValueError("an encoder needs a channel")
        if not self.parts and not self.loras:
            raise ValueError("a patch needs a fusion or a LoRA")
        # Twice the same residual would be a patch that nobody trained.
        names = [base_patch.name for base_patch in self.base_patches]
        if len(set(names)) < len(names):
            raise ValueError("each patch can be listed only once in base_patches")
        continued = any(base_patch.lora == "continued" for base_patch in self.base_patches)
        if continued and self.lora is None:
            raise ValueError("a patch without a LoRA cannot continue one")
        return self

    @property
    def loras(self) -> dict[str, LoraSpec]:
        """Shapes of its LoRAs by channel; under an empty name the one that is everybody's."""
        if self.lora is not None:
            return {"": self.lora}
        found = {}
        for channel, spec in self.channels.items():
            if spec.lora is not None:
                found[channel] = spec.lora
        return found

    @property
    def parts(self) -> dict[str, ChannelSpec]:
        """Every channel with its encoder and fusion; none of a LoRA-only patch."""
        if self.channel is None or self.fusion is None:
            return self.channels
        return {self.channel: ChannelSpec(encoder=self.encoder, fusion=self.fusion)}

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what most patches lack, so that their files are those of older versions."""
        fields: dict[str, Any] = write(self)
        for name in _LEFT_OUT:
            if not fields.get(name):
                fields.pop(name, None)
        if fields.get("dtype") == "fp32":
            fields.pop("dtype")
        return fields


def _fusion_settings(fields: Any) -> Any:
    """What a file says of a fusion, read by the class that its `type` names."""
    if not isinstance(fields, dict):  # settings that were made in a program
        return fields
    try:
        return read_fusion_config(fields)
    except ValidationError as error:  # several lines, of which one is enough
        raise ValueError(reason(error)) from error


def reason(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: where it is and what is wrong."""
    where, what = first_problem(error)
    if where:
        what = f"{where}: {what}"
    if error.error_count() > 1:
        what = f"{what} (and {error.error_count() - 1} more)"
    return what
