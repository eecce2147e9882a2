"""`estimate`: what a patch costs before anything is trained.

Parameters, tokens, floating-point operations, memory. The model is made on the meta device (shapes
without numbers), so a 7B base takes seconds and no memory. Operations are those of the matrix
products, a multiply-add counting as two:

    tower            counted by torch on one frame, times the frames
    language model   2 * tokens * weights of its linear layers, and causal attention:
                     2 * tokens^2 * width a layer
    patch            `fusion_flops`; the LoRA is merged for inference and costs nothing

Memory of a training step, which tests compare with what a step on a CPU allocates:

    weights          2 bytes a parameter of the base in bf16, 4 in fp32 (the recipe's `precision`);
                     linear layers of a quantised language model half a byte (nf4) or one
    trained          16 bytes a trained parameter: fp32 weight, gradient and two moments of AdamW
    activations      `Kept` and `fusion_bytes`, twice the logits of the answers, and what autocast
                     rounds; with a question gate, twice what the language model keeps

How they lie on several cards is `pave.train.card`.

What is estimated is an `EstimatePlan` (`pave.train.estimate_plan`); the formulas are in
`pave.train.costs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from pave.bases.families.llava_onevision import LlavaOnevision
from pave.bases.visual import Layout
from pave.errors import ConfigError
from pave.fusion import FusionConfig
from pave.fusion_costs import fusion_flops, fusion_parameters
from pave.hf_compat import attention_implementation
from pave.patches.lora_targets import check_names, check_targets
from pave.train.card import Machines, Needs, card_bytes, sent_bytes
from pave.train.costs import (
    ADAMW,
    fusion_bytes,
    language_flops,
    linear_weights,
    lora_parameters,
    tower_flops,
    weight_bytes,
)
from pave.train.estimate_plan import EstimatePlan, model_without_weights, sized_fusion
from pave.train.kept import BYTES, FP32, Kept, adapted_maps

CACHED = BYTES["bf16"]
"""Bytes of a number in the token cache."""
ALONE = Machines()


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
        memory: `weights`, `trained`, `activations`, `total` of a training step on one card.
        card: Of each card: `parameters`, `gradients`, `optimiser`, `activations`, `cache`, `total`.
        sent: Bytes that each card sends to others in a step.
        cached: Bytes of a clip's tokens in the token cache.
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
    card: dict[str, int]
    sent: int
    cached: int
    batch: int
    checkpointing: bool
    precision: str
    quantize: str | None = None


def estimate(wanted: EstimatePlan, machines: Machines = ALONE) -> Estimate:
    """Estimate a plan.

    Args:
        wanted: What is trained.
        machines: On what.

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
    parts = _parts_of(wanted)
    parameters = parts.parameters()
    tokens = parts.tokens()
    flops = parts.flops(tokens["prompt"])
    memory = parts.memory(parameters["trained"])
    cached = parts.cached()
    needs = parts.needs(memory, parameters["trained"], cached)
    return Estimate(
        recipe=wanted.name,
        base=wanted.base,
        parameters=parameters,
        tokens=tokens,
        flops=flops,
        share=flops["patch"] / (flops["tower"] + flops["language_model"]),
        memory=memory,
        card=card_bytes(needs, machines),
        sent=sent_bytes(needs, machines),
        cached=cached,
        batch=wanted.batch,
        checkpointing=wanted.checkpointing,
        precision=wanted.precision,
        quantize=wanted.quantize,
    )


@dataclass(frozen=True)
class _Parts:
    """What a plan trains: a base without weights, and fusions that have its widths.

    Attributes:
        wanted: The plan.
        model: The base on the meta device.
        family: Its family.
        text: Configuration of its language model.
        frames: Frames of a clip.
        layout: Where their tokens sit.
        fusions: Of the patch, one a channel.
    """

    wanted: EstimatePlan
    model: Any
    family: LlavaOnevision
    text: Any
    frames: int
    layout: Layout
    fusions: Sequence[FusionConfig]

    @property
    def language(self) -> Any:
        """The language model."""
        return self.model.model.get_submodule(self.family.language_model)

    @property
    def queries(self) -> int:
        """Tokens that the fusion reads: the frames' cells, without the newlines between them."""
        return self.frames * self.layout.spatial

    def parameters(self) -> dict[str, int]:
        """Of base, fusion and LoRA, and those that train."""
        base = sum(parameter.numel() for parameter in self.model.parameters())
        fusion = sum(map(fusion_parameters, self.fusions))
        each = lora_parameters(self.model, self.wanted.lora, self.family)
        lora = self.wanted.loras * each
        return {"base": base, "fusion": fusion, "lora": lora, "trained": fusion + lora}

    def tokens(self) -> dict[str, int]:
        """Of a clip: `visual`, `prompt` with a question, `side` of all channels."""
        visual = self.layout.total
        side = 0
        # Steps in time, and tokens of each.
        for steps, each in self.wanted.side:
            side += steps * each
        return {"visual": visual, "prompt": visual + self.wanted.question_tokens, "side": side}

    def flops(self, prompt: int) -> dict[str, int]:
        """Operations of a clip with a prompt of so many tokens, forward."""
        patch = 0
        for fusion, (steps, each) in zip(self.fusions, self.wanted.side, strict=True):
            patch += fusion_flops(
                fusion,
                frames=self.frames,
                query_tokens=self.layout.spatial,
                side_steps=steps,
                side_tokens=each,
            )
        return {
            "tower": tower_flops(self.model, self.frames),
            "language_model": language_flops(self.language, self.text, prompt),
            "patch": patch,
        }

    def memory(self, trained: int) -> dict[str, int]:
        """Bytes of a training step on one card, with so many trained parameters."""
        found = {
            "weights": self._weights(self.model, self.language),
            "trained": ADAMW * trained,  # weight, gradient and two moments, in fp32
            "activations": self.wanted.batch * self._active() + self._rounded(),
        }
        found["total"] = sum(found.values())
        return found

    def cached(self) -> int:
        """Bytes of a clip's tokens as the cache has them: visual, queries of the tower, side."""
        width = int(self.text.hidden_size)
        # As the base hands them over: also queries of the tower, which not every fusion reads.
        numbers = self.layout.total * width + self.queries * self.family.query_dim
        for fusion, (steps, each) in zip(self.fusions, self.wanted.side, strict=True):
            numbers += steps * each * fusion.side_dim
        return CACHED * numbers

    def needs(self, memory: Mapping[str, int], trained: int, cached: int) -> Needs:
        """What is divided among several cards."""
        layers = self.language.layers
        layer = layers[0]  # all have one size
        return Needs(
            base=memory["weights"],
            layers=self._weights(layers, layers),
            layer=self._weights(layer, layer),
            trained=trained,
            activations=memory["activations"],
            cache=self.wanted.batch * cached,
        )

    def _weights(self, part: nn.Module, language: nn.Module) -> int:
        """Bytes of a part of the base in a step; `language` is what of it quantisation reaches."""
        wanted = self.wanted
        number = BYTES[wanted.held]
        found = weight_bytes(part, language, number, wanted.quantize)
        if wanted.quantize is None:
            # Frozen linear weights are held in what they compute in.
            found -= (number - BYTES[wanted.precision]) * linear_weights(language)
        return found

    def _active(self) -> int:
        """Bytes that a step keeps of one clip and its questions for the backward pass."""
        language = self._kept().total() + self._logits()
        if any(fusion.question_gate for fusion in self.fusions):
            language *= 2  # with the residual, and without it
        fusion = fusion_bytes(self.fusions, self.queries)
        if self.wanted.checkpointing:
            # Recomputed when the language model's pass is over.
            return max(language, fusion)
        return language + fusion

    def _kept(self) -> Kept:
        """What the language model keeps of one clip."""
        wanted = self.wanted
        deep = int(self.text.num_hidden_layers)
        maps = adapted_maps(self.model, wanted.lora, self.family, deep)
        return Kept(
            text=self.text,
            tokens=self.layout.total + wanted.question_tokens * wanted.questions,
            maps=maps * wanted.loras,
            precision=wanted.precision,
            held=wanted.held,
            dropout=wanted.lora is not None and wanted.lora.dropout > 0,
            eager=attention_implementation(self.text) == "eager",
            masked=wanted.on_cpu and wanted.questions > 1,
            lean=wanted.on_cpu,
            checkpointing=wanted.checkpointing,
        )

    def _logits(self) -> int:
        """Bytes of the logits and their gradient, where the next token belongs to an answer."""
        answers = self.wanted.answer_tokens * self.wanted.questions
        return 2 * FP32 * answers * int(self.text.vocab_size)

    def _rounded(self) -> int:
        """Bytes of weights that autocast rounds in a step and keeps: the LoRAs', and the head's."""
        if self.wanted.precision != "bf16":
            return 0
        each = lora_parameters(self.model, self.wanted.lora, self.family)
        numbers = self.wanted.loras * each
        if self.wanted.held == "fp32":
            numbers += int(self.text.hidden_size) * int(self.text.vocab_size)
        return BYTES["bf16"] * numbers


def _parts_of(wanted: EstimatePlan) -> _Parts:
    """Make the base, and give the fusions its widths.

    Raises:
        ConfigError: If the base is of another kind, or a fusion was not made for it.
        BaseError: If the base cannot be found.
        PatchError: If the LoRA has no place in it.
    """
    model, own_frames, own_inputs = model_without_weights(wanted.base, wanted.revision)
    inputs = wanted.inputs.asked or own_inputs
    family = LlavaOnevision(model.config, inputs)
    text = model.config.get_text_config()
    frames = wanted.frames or inputs.frames or own_frames
    width = int(text.hidden_size)
    fusions = [_fit(fusion, family.query_dim, width, wanted.name) for fusion in wanted.fusions]
    if wanted.lora is not None:
        check_names(model, wanted.lora, family)
        check_targets(model, wanted.lora, family)
    return _Parts(wanted, model, family, text, frames, family.layout(frames), fusions)


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
                f"{name} needs a base with {key} {given}, but this one has {wanted}; give the "
                "base that it is for"
            )
    widths = {"query_dim": query_dim, "out_dim": out_dim}
    return sized_fusion(name, {**fusion.model_dump(), **widths})
