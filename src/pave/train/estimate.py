"""`estimate`: what a patch costs before anything is trained: parameters, tokens, floating-point operations, memory.

The model is made on the meta device (shapes without numbers), so a 7B base takes seconds and no
memory. Operations are those of the matrix products, a multiply-add counting as two:

    tower            counted by torch on one frame, times the frames
    language model   2 * tokens * weights of its linear layers + causal attention, 2 * tokens^2 * width a layer
    patch            `fusion_flops`; the LoRA is merged for inference and costs nothing

Memory of a training step is an estimate, not a measurement:

    weights          2 bytes a parameter of the base (bf16)
    trained          16 bytes a trained parameter: fp32 weight, gradient and two moments of AdamW
    activations      per language-model token: checkpointed, one hidden vector a layer and the inside of one layer; else the
                     inside of every layer (6 width + 2 key-value width + 4 MLP width, in bf16)
    fusion           fp32: 8 hidden vectors a block and query token, and the output MLP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pave.bases import InputSpec, load_base
from pave.bases.families.llava_onevision import LlavaOnevision
from pave.bases.published import published_model, published_size
from pave.channels import UsualShape, describe_encoder, make_encoder
from pave.channels.tower import Cells, Window
from pave.errors import ConfigError, first_problem
from pave.fusion import FusionConfig
from pave.fusion_costs import fusion_flops, fusion_parameters
from pave.media import Frames
from pave.paper.configs import (
    AUTHORS_INPUTS,
    channel_of,
    fusion_config,
    list_configs,
    title_of,
)
from pave.patches import LoraSpec
from pave.patches.lora import check_targets, lora_shapes
from pave.train.config import TrainConfig, load_config

WORDS = 50
"""Words of a prompt around the video, as tokens."""


@dataclass(frozen=True)
class Plan:
    """What to estimate.

    Attributes:
        name: The recipe.
        base: A size, a folder or a Hub id.
        fusions: One a side channel; none for a LoRA-only control.
        lora: The LoRA, or None.
        side: (steps, tokens a step) of each fusion's side channel.
        inputs: How the base is fed.
        frames: Frames of a clip; None takes the base's own number.
        batch: Clips of a forward pass.
        checkpointing: Whether activations are recomputed.
    """

    name: str
    base: str
    fusions: tuple[FusionConfig, ...]
    lora: LoraSpec | None
    side: tuple[tuple[int, int], ...]
    inputs: InputSpec
    frames: int | None = None
    batch: int = 4
    checkpointing: bool = True


def plan(
    recipe: str,
    base: str | None = None,
    side: tuple[int, int] | None = None,
    batch: int | None = None,
) -> Plan:
    """What a recipe or one of the authors' configs asks for.

    Args:
        recipe: A YAML file of `TrainConfig`, or a name such as "V5_1_3_audio_languagebind_7B".
        base: Another base than the recipe's.
        side: (steps, tokens a step) of the side channel, instead of the usual ones of its channel.
        batch: Clips of a forward pass, instead of the recipe's.

    Raises:
        ConfigError: If there is no such recipe, or a setting in it is wrong.
    """
    name = title_of(recipe)
    if name in list_configs():
        return _official(name, base, side, batch)
    if not Path(recipe).is_file():
        raise ConfigError(
            f"{recipe!r} is neither a recipe file nor a config of the authors: "
            f"{', '.join(list_configs())}"
        )
    config = load_config(recipe)
    shape = side or _usual(config.channel or "", config.encoder)
    return Plan(
        name=recipe,
        base=config.base if base is None else base,
        fusions=_fusions(config, config.base if base is None else base, name),
        lora=config.lora,
        side=(shape,) if config.channel else (),
        inputs=config.inputs,
        frames=config.frames,
        batch=batch or config.batch_clips,
        checkpointing=config.gradient_checkpointing,
    )


def _official(name: str, base: str | None, side: tuple[int, int] | None, batch: int | None) -> Plan:
    config = fusion_config(name)
    channels = (
        ["frames", "audio"]
        if "multi_side" in name
        else [channel_of(name if name != "default" else "V5_1_3")]
    )
    return Plan(
        name=name,
        base=base if base is not None else "7b" if config.out_dim == 3584 else "0.5b",
        fusions=(config,) * len(channels),
        lora=LoraSpec(rank=64, alpha=16),
        side=tuple(side or _usual(channel, None) for channel in channels),
        inputs=AUTHORS_INPUTS,
        batch=batch or 4,
    )


def _fusions(config: TrainConfig, base: str, name: str) -> tuple[FusionConfig, ...]:
    """The recipe's fusion; the query's width, which the base decides, is filled in with the rest of the base's sizes."""
    if config.channel is None or config.encoder is None:
        return ()
    given = dict(config.fusion)
    if "side_dim" not in given:
        given["side_dim"] = _side_dim(config.channel, config.encoder, config.encoder_settings, base)
    width = int(
        _model(base)[0].config.get_text_config().hidden_size
    )  # sizes must agree with it from the first
    return (_fusion(name, {"query_dim": 1, "out_dim": width, **given}),)


def _fusion(name: str, fields: Mapping[str, Any]) -> FusionConfig:
    """A fusion of settings that somebody else wrote."""
    try:
        return FusionConfig(**fields)
    except ValidationError as error:
        where, what = first_problem(error)
        raise ConfigError(f"{name}: {f'fusion.{where}' if where else 'fusion'}: {what}") from error


def _usual(channel: str, encoder: str | None) -> tuple[int, int]:
    """Steps, and tokens of each, of a usual clip; a token a second where nobody said."""
    usual = describe_encoder(channel, encoder).usual or UsualShape(1, 1)
    return usual.steps, usual.tokens_per_step


def _side_dim(channel: str, encoder: str, settings: Mapping[str, Any], base: str) -> int:
    """Features of an encoder's tokens, without its weights where those are published."""
    info = describe_encoder(channel, encoder)
    if info.dim:
        return info.dim
    if not info.needs_tower:
        return make_encoder(channel, encoder, settings).dim
    model, _ = _model(base)
    width = LlavaOnevision(model.config).query_dim
    return make_encoder(channel, encoder, settings, tower=_Width(width)).dim


@dataclass(frozen=True)
class _Width:
    """A tower of which only the width is known."""

    dim: int
    frames_per_step: int = 1
    digest: str = ""

    def cells(self, frames: Frames) -> Cells:
        raise ConfigError("an estimate has no tower to look with")

    def window(self, height: int, width: int) -> Window:
        return Window()


@dataclass(frozen=True)
class Estimate:
    """What it costs. Operations are floating-point operations of one clip, forward; memory is bytes.

    Attributes:
        recipe: What was estimated.
        base: Its base.
        parameters: `base`, `fusion` (with the authors' idle tensors), `lora`, `trained`.
        tokens: `visual`, `prompt` (all tokens the language model sees), `side`.
        flops: `tower`, `language_model`, `patch`.
        share: The patch's operations as a part of tower and language model.
        memory: `weights`, `trained`, `activations`, `total` of a training step.
        batch: Clips of the forward pass that the memory is for.
        checkpointing: Whether activations are recomputed in it.
    """

    recipe: str
    base: str
    parameters: dict[str, int]
    tokens: dict[str, int]
    flops: dict[str, int]
    share: float
    memory: dict[str, int]
    batch: int
    checkpointing: bool


def estimate(wanted: Plan) -> Estimate:
    """Estimate a plan.

    Raises:
        ConfigError: If the base is not of the LLaVA-OneVision kind, or the fusion was not made for
            it.
        BaseError: If the base cannot be found.
        PatchError: If the LoRA has no place in it.

    Example:
        >>> estimate(plan("V5_1_3_audio_languagebind_7B")).parameters["trained"]  # doctest: +SKIP
        170477056
    """
    model, default_frames = _model(wanted.base)
    config = model.config
    frames = wanted.frames or wanted.inputs.frames or default_frames
    spec = LlavaOnevision(config, wanted.inputs)
    layout = spec.layout(frames)
    visual = layout.total
    width = int(config.get_text_config().hidden_size)
    fusions = [_fit(fusion, spec.query_dim, width, wanted.name) for fusion in wanted.fusions]
    language, tower = model.model.get_submodule(spec.language_model), _tower_flops(model, frames)
    patch = 0
    for fusion, (steps, each) in zip(fusions, wanted.side, strict=True):
        patch += fusion_flops(
            fusion,
            frames=frames,
            query_tokens=layout.spatial,
            side_steps=steps,
            side_tokens=each,
        )
    tokens = {
        "visual": visual,
        "prompt": visual + WORDS,
        "side": sum(steps * each for steps, each in wanted.side),
    }
    llm = _language_flops(language, config.get_text_config(), tokens["prompt"])
    if wanted.lora is not None:
        check_targets(model, wanted.lora, spec)
    sizes = {
        "base": sum(p.numel() for p in model.parameters()),
        "fusion": sum(fusion_parameters(fusion) for fusion in fusions),
        "lora": 0
        if wanted.lora is None
        else sum(wanted.lora.rank * (a + b) for _, a, b in lora_shapes(model, wanted.lora, spec)),
    }
    sizes["trained"] = sizes["fusion"] + sizes["lora"]
    cells = frames * layout.spatial
    active = _activations(
        config.get_text_config(), tokens["prompt"], wanted.checkpointing
    ) + _fusion_bytes(fusions, cells)
    memory = {
        "weights": 2 * sizes["base"],
        "trained": 16 * sizes["trained"],
        "activations": wanted.batch * active,
    }
    memory["total"] = sum(memory.values())
    flops = {"tower": tower, "language_model": llm, "patch": patch}
    share = patch / (tower + llm)
    return Estimate(
        wanted.name,
        wanted.base,
        sizes,
        tokens,
        flops,
        share,
        memory,
        wanted.batch,
        wanted.checkpointing,
    )


@cache
def _model(base: str) -> tuple[Any, int]:
    """The model on the meta device, and how many frames it takes."""
    size = None if Path(base).is_dir() else published_size(base)
    if size is not None:
        model = published_model(size)
        return model, LlavaOnevision(model.config).settings().frames
    loaded = load_base(base, weights=False)
    if loaded.family.name != "llava_onevision":
        raise ConfigError(
            f"only bases of the LLaVA-OneVision kind can be estimated, {base} is {loaded.family.name}"
        )
    return loaded.model, loaded.settings.frames


def _fit(fusion: FusionConfig, query: int, width: int, name: str) -> FusionConfig:
    """The fusion with the base's widths; a config that states others belongs to another base."""
    query = width if fusion.query == "projected" else query
    for key, given, wanted in (
        ("query_dim", fusion.query_dim, query),
        ("out_dim", fusion.out_dim, width),
    ):
        if given not in (1, wanted):
            raise ConfigError(
                f"{name} needs a base with {key} {given}, this one has {wanted}; name the base it "
                "is for"
            )
    return _fusion(name, {**fusion.model_dump(), "query_dim": query, "out_dim": width})


def _tower_flops(model: Any, frames: int) -> int:
    """Operations of tower and projector, counted by torch on one frame."""
    config = model.config
    size, device = (
        int(config.vision_config.image_size),
        next(model.model.vision_tower.parameters()).device,
    )
    pixels = torch.empty(
        1, 3, size, size, device=device, dtype=next(model.model.vision_tower.parameters()).dtype
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        hidden = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[
            config.vision_feature_layer
        ]
        model.model.multi_modal_projector(hidden)
    return int(counter.get_total_flops()) * frames


def _language_flops(language: nn.Module, text: Any, tokens: int) -> int:
    """Operations of the prompt's pass through the layers; the head, which runs on one token, is left out."""
    weights = sum(
        module.weight.numel() for module in language.modules() if isinstance(module, nn.Linear)
    )
    heads = int(text.num_attention_heads)
    width = heads * int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    return 2 * tokens * weights + 2 * tokens**2 * width * int(text.num_hidden_layers)


def _activations(text: Any, tokens: int, checkpointing: bool) -> int:
    """Bytes that the language model keeps of one clip for the backward pass."""
    layers, width = int(text.num_hidden_layers), int(text.hidden_size)
    keys = int(text.num_key_value_heads) * (width // int(text.num_attention_heads))
    inside = 2 * tokens * (6 * width + 2 * keys + 4 * int(text.intermediate_size))
    return 2 * tokens * width * layers + inside if checkpointing else inside * layers


def _fusion_bytes(fusions: Sequence[FusionConfig], queries: int) -> int:
    """Bytes that the fusions keep of one clip for the backward pass."""
    return sum(
        4 * queries * (8 * f.hidden * f.layers + 2 * f.hidden + 2 * f.out_dim) for f in fusions
    )
