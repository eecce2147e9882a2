"""What `estimate` is asked: a recipe, or one of the authors' configs, as sizes.

A recipe leaves things open that the base decides: the widths of query and residual, the number of
frames. They stay open here (`query_dim=1`) or are asked of a base without weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.bases import InputSpec, load_base
from pave.bases.families.llava_onevision import LlavaOnevision
from pave.bases.published import published_model, published_size
from pave.channels import UsualShape, describe_encoder, make_encoder
from pave.channels.tower import Cells, Window
from pave.errors import ConfigError, first_problem
from pave.fusion import FusionConfig
from pave.media import Frames
from pave.paper.configs import (
    AUTHORS_INPUTS,
    LARGE_DIM,
    TWO_CHANNELS,
    channel_of,
    fusion_config,
    has_two_channels,
    list_configs,
    title_of,
)
from pave.patches import LoraSpec
from pave.train.config import TrainConfig, TrainedChannel
from pave.train.precision import Settled, base_dtype
from pave.train.recipes import settings_file
from pave.train.settings import load_config

Shape = tuple[int, int]
"""(steps, tokens a step) of a side channel."""

AUTHORS_LORA = LoraSpec(rank=64, alpha=16)
"""What the authors trained beside every fusion."""


@dataclass(frozen=True)
class EstimatePlan:
    """What to estimate.

    Attributes:
        name: The recipe.
        base: A size, a folder or a Hub id.
        fusions: One a side channel; none for a LoRA-only control.
        lora: The LoRA, or None.
        loras: How many of this shape there are: one for each of several channels, or one.
        side: (steps, tokens a step) of each fusion's side channel.
        inputs: How the base is fed.
        frames: Frames of a clip; None takes the base's own number.
        batch: Clips of a forward pass.
        checkpointing: Whether activations are recomputed.
        precision: What it trains in.
        held: What the base is held in, but for frozen linear weights: those are in `precision`.
        revision: Of a base on the Hub.
        quantize: How the base's language model is quantised.
        questions: Questions behind one copy of a clip's tokens.
        question_tokens: Tokens of a question with its answer, and of what is written around it.
        answer_tokens: Those of them that belong to the answer.
        on_cpu: Whether it trains on a CPU, where questions are parted by a mask and gated MLPs
            keep less.
    """

    name: str
    base: str
    fusions: tuple[FusionConfig, ...]
    lora: LoraSpec | None
    side: tuple[Shape, ...]
    inputs: InputSpec
    frames: int | None = None
    batch: int = 4
    loras: int = 1
    checkpointing: bool = True
    precision: Settled = "bf16"
    held: Settled = "bf16"
    revision: str | None = None
    quantize: str | None = None
    questions: int = 1
    question_tokens: int = 50
    answer_tokens: int = 10
    on_cpu: bool = False


def plan(
    recipe: str,
    base: str | None = None,
    side: Shape | None = None,
    batch: int | None = None,
    *,
    quantize: str | None = None,
    revision: str | None = None,
) -> EstimatePlan:
    """What a recipe or one of the authors' configs asks for.

    Args:
        recipe: A YAML file of `TrainConfig`, or a name such as "V5_1_3_audio_languagebind_7B".
        base: Another base than the recipe's.
        side: (steps, tokens a step) of the side channel, instead of the usual ones of its channel.
        batch: Clips of a forward pass, instead of the recipe's.
        quantize: How the base's language model is quantised, instead of the recipe's way.
        revision: Of a base on the Hub, instead of the recipe's.

    Raises:
        ConfigError: If there is no such recipe, or a setting in it is wrong.

    Example:
        >>> plan("V5_1_3_audio_languagebind_7B").base
        '7b'
    """
    name = title_of(recipe)
    if name in list_configs():
        theirs = _of_authors(name, base, side, batch)
        return replace(theirs, quantize=quantize, revision=revision)
    if not settings_file(recipe).is_file():
        raise ConfigError(
            f"{recipe!r} is neither a recipe nor a config of the authors: "
            f"{', '.join(list_configs())}"
        )
    own = _of_recipe(recipe, base, side, revision)
    return replace(own, batch=batch or own.batch, quantize=quantize or own.quantize)


def _of_recipe(
    recipe: str, base: str | None, side: Shape | None, revision: str | None
) -> EstimatePlan:
    """What a YAML file asks for; base, side and revision take the place of its own.

    Raises:
        ConfigError: If a setting in it is wrong, or the number of frames depends on the clips.
    """
    config = load_config(recipe)
    if config.frames == "auto":  # as many as a clip's length asks for, and there is no clip here
        raise ConfigError(
            f"{recipe}: frames: auto depends on the clips; give a number to estimate with"
        )
    if base is None:
        base = config.base
        revision = revision or config.revision  # another base has other commits
    shapes: list[Shape] = []
    fusions: list[FusionConfig] = []
    for channel, part in config.parts.items():
        shapes.append(side or _usual(channel, part.encoder))
        fusions.append(_fusion(channel, part, base, revision, title_of(recipe)))
    precision = _precision(config)
    return EstimatePlan(
        name=recipe,
        base=base,
        fusions=tuple(fusions),
        lora=config.lora,
        loras=len(shapes) if config.lora_per_channel else 1,
        side=tuple(shapes),
        inputs=config.inputs,
        frames=config.frames,
        batch=config.batch_clips,
        checkpointing=config.gradient_checkpointing,
        precision=precision,
        held=base_dtype(base, precision),
        revision=revision,
        quantize=config.quantize,
        questions=config.questions_per_video,
        on_cpu=config.device == "cpu",
    )


def _precision(config: TrainConfig) -> Settled:
    """What it computes in; "auto" is taken for a GPU's, wherever the estimate is made."""
    if config.precision != "auto":
        return config.precision
    return base_dtype(config.base, "bf16")


def sized_fusion(name: str, fields: Mapping[str, Any]) -> FusionConfig:
    """A fusion of settings that somebody else wrote.

    Args:
        name: The recipe, for the error.
        fields: The settings.

    Raises:
        ConfigError: If one is wrong; the message names recipe and field.
    """
    try:
        return FusionConfig(**fields)
    except ValidationError as error:
        field, what = first_problem(error)
        where = f"fusion.{field}" if field else "fusion"
        raise ConfigError(f"{name}: {where}: {what}") from error


@cache
def model_without_weights(base: str, revision: str | None = None) -> tuple[Any, int, InputSpec]:
    """The base's model on the meta device, how many frames it takes, and how it is fed.

    Raises:
        BaseError: If it cannot be found.
        ConfigError: If it is not of the LLaVA-OneVision kind.
    """
    # A folder that happens to be called "7b" is a folder.
    size = None if Path(base).is_dir() else published_size(base)
    if size is not None:
        model = published_model(size)
        return model, LlavaOnevision(model.config).settings().frames, InputSpec()
    loaded = load_base(base, weights=False, revision=revision)
    family = loaded.family.name
    if family != "llava_onevision":
        raise ConfigError(f"pave estimate supports only LLaVA-OneVision bases; {base} is {family}")
    return loaded.model, loaded.settings.frames, loaded.own_inputs


def _of_authors(
    name: str,
    base: str | None,
    side: Shape | None,
    batch: int | None,
) -> EstimatePlan:
    """One of the authors' configs, as they trained it."""
    config = fusion_config(name)
    if has_two_channels(name):
        channels: tuple[str, ...] = TWO_CHANNELS
    elif name == "default":  # another name of V5_1_3, and it speaks of no channel
        channels = (channel_of("V5_1_3"),)
    else:
        channels = (channel_of(name),)
    if base is None:
        base = "7b" if config.out_dim == LARGE_DIM else "0.5b"
    return EstimatePlan(
        name=name,
        base=base,
        fusions=(config,) * len(channels),  # two channels have two fusions of one shape
        lora=AUTHORS_LORA,
        side=tuple(side or _usual(channel, None) for channel in channels),
        inputs=AUTHORS_INPUTS,
        batch=batch or 4,
    )


def _fusion(
    channel: str, part: TrainedChannel, base: str, revision: str | None, name: str
) -> FusionConfig:
    """The fusion of one of the recipe's channels.

    The query's width, which the base decides, is filled in with the rest of the base's sizes.
    """
    given = dict(part.fusion)
    if "side_dim" not in given:
        given["side_dim"] = _side_dim(channel, part, base, revision)
    model, _, _ = model_without_weights(base, revision)
    # Other settings must agree with this width from the first: see `FusionConfig`.
    width = int(model.config.get_text_config().hidden_size)
    return sized_fusion(name, {"query_dim": 1, "out_dim": width, **given})


def _usual(channel: str, encoder: str | None) -> Shape:
    """Steps, and tokens of each, of a usual clip; a token a second where nobody said."""
    usual = describe_encoder(channel, encoder).usual or UsualShape(1, 1)
    return usual.steps, usual.tokens_per_step


def _side_dim(channel: str, part: TrainedChannel, base: str, revision: str | None) -> int:
    """Features of an encoder's tokens, without its weights where those are published."""
    info = describe_encoder(channel, part.encoder)
    if info.dim:
        return info.dim
    tower = None
    if info.needs_tower:
        # It looks with the base's own tower, and its tokens are as wide as that.
        model, _, _ = model_without_weights(base, revision)
        tower = _Width(LlavaOnevision(model.config).query_dim)
    return make_encoder(channel, part.encoder, part.encoder_settings, tower=tower).dim


@dataclass(frozen=True)
class _Width:
    """A tower of which only the width is known."""

    dim: int
    frames_per_step: int = 1
    digest: str = ""

    def cells(self, frames: Frames) -> Cells:
        raise ConfigError("an estimate has no vision tower, so it cannot encode anything")

    def window(self, height: int, width: int) -> Window:
        return Window()
