"""`estimate`: what a patch costs before anything is trained.

Parameters, tokens, floating-point operations, memory. The model is made on the meta device (shapes
without numbers), so a 7B base takes seconds and no memory. Operations are those of the matrix
products, a multiply-add counting as two:

    tower            counted by torch on one frame, times the frames
    language model   2 * tokens * weights of its linear layers, and causal attention:
                     2 * tokens^2 * width a layer
    patch            `fusion_flops`; the LoRA is merged for inference and costs nothing

Memory of a training step is an estimate, not a measurement:

    weights          2 bytes a parameter of the base in bf16, 4 in fp32 (the recipe's `precision`);
                     linear layers of a quantised language model half a byte (nf4) or one
    trained          16 bytes a trained parameter: fp32 weight, gradient and two moments of AdamW
    activations      per language-model token: checkpointed, one hidden vector a layer and the
                     inside of one layer; else the inside of every layer (6 width + 2 key-value
                     width + 4 MLP width, in the base's precision)
    fusion           fp32: 8 hidden vectors a block and query token, and the output MLP

What is estimated is an `EstimatePlan` (`pave.train.estimate_plan`); the formulas are in
`pave.train.costs`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pave.bases.families.llava_onevision import LlavaOnevision
from pave.errors import ConfigError
from pave.fusion import FusionConfig
from pave.fusion_costs import fusion_flops, fusion_parameters
from pave.patches.lora_targets import check_names, check_targets
from pave.train.costs import (
    ADAMW,
    BYTES,
    fusion_bytes,
    kept_numbers,
    language_flops,
    lora_parameters,
    tower_flops,
    weight_bytes,
)
from pave.train.estimate_plan import EstimatePlan, model_without_weights, sized_fusion

WORDS = 50
"""Words of a prompt around the video, as tokens."""


@dataclass(frozen=True)
class Estimate:
    """What it costs.

    Operations are floating-point operations of one clip, forward; memory is bytes.

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
        precision: What it trains in.
        quantize: How the base's language model is quantised; None where it is not.
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
    precision: str
    quantize: str | None = None


def estimate(wanted: EstimatePlan) -> Estimate:
    """Estimate a plan.

    Raises:
        ConfigError: If the base is not of the LLaVA-OneVision kind, or the fusion was not made for
            it.
        BaseError: If the base cannot be found.
        PatchError: If the LoRA has no place in it.

    Example:
        >>> from pave.train.estimate_plan import plan
        >>> estimate(plan("V5_1_3_audio_languagebind_7B")).parameters["trained"]  # doctest: +SKIP
        170477056
    """
    model, own_frames, own_inputs = model_without_weights(wanted.base, wanted.revision)
    inputs = wanted.inputs.asked or own_inputs
    family = LlavaOnevision(model.config, inputs)
    text = model.config.get_text_config()
    frames = wanted.frames or inputs.frames or own_frames
    layout = family.layout(frames)
    width = int(text.hidden_size)
    fusions = [_fit(fusion, family.query_dim, width, wanted.name) for fusion in wanted.fusions]
    if wanted.lora is not None:
        check_names(model, wanted.lora, family)
        check_targets(model, wanted.lora, family)

    parameters = {
        "base": sum(parameter.numel() for parameter in model.parameters()),
        "fusion": sum(fusion_parameters(fusion) for fusion in fusions),
        "lora": wanted.loras * lora_parameters(model, wanted.lora, family),
    }
    parameters["trained"] = parameters["fusion"] + parameters["lora"]
    tokens = {"visual": layout.total, "prompt": layout.total + WORDS, "side": 0}
    flops = {"tower": tower_flops(model, frames), "language_model": 0, "patch": 0}
    language = model.model.get_submodule(family.language_model)
    flops["language_model"] = language_flops(language, text, tokens["prompt"])
    for fusion, (steps, each) in zip(fusions, wanted.side, strict=True):
        tokens["side"] += steps * each
        flops["patch"] += fusion_flops(
            fusion,
            frames=frames,
            query_tokens=layout.spatial,
            side_steps=steps,
            side_tokens=each,
        )

    # The fusion's queries are the frames' cells, without the newlines between them.
    number = BYTES[wanted.precision]
    active = number * kept_numbers(text, tokens["prompt"], checkpointing=wanted.checkpointing)
    active += fusion_bytes(fusions, frames * layout.spatial)
    memory = {
        "weights": weight_bytes(model, language, number, wanted.quantize),
        "trained": ADAMW * parameters["trained"],
        "activations": wanted.batch * active,
    }
    memory["total"] = sum(memory.values())
    return Estimate(
        recipe=wanted.name,
        base=wanted.base,
        parameters=parameters,
        tokens=tokens,
        flops=flops,
        share=flops["patch"] / (flops["tower"] + flops["language_model"]),
        memory=memory,
        batch=wanted.batch,
        checkpointing=wanted.checkpointing,
        precision=wanted.precision,
        quantize=wanted.quantize,
    )


def _fit(fusion: FusionConfig, query_dim: int, out_dim: int, name: str) -> FusionConfig:
    """The fusion with the base's widths; a config that states others belongs to another base."""
    if fusion.query == "projected":  # such queries are as wide as the language model
        query_dim = out_dim
    for key, given, wanted in (
        ("query_dim", fusion.query_dim, query_dim),
        ("out_dim", fusion.out_dim, out_dim),
    ):
        if given not in (1, wanted):  # 1: left open
            raise ConfigError(
                f"{name} needs a base with {key} {given}, this one has {wanted}; name the base it "
                "is for"
            )
    widths = {"query_dim": query_dim, "out_dim": out_dim}
    return sized_fusion(name, {**fusion.model_dump(), **widths})
