"""What the parts of a patched model cost: operations of a forward pass, bytes of a backward one.

Operations are those of the matrix products, a multiply-add counting as two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pave.bases.family import Family
from pave.bases.quantised import quantised_bytes
from pave.fusion import FusionConfig
from pave.patches import LoraSpec
from pave.patches.lora_targets import lora_shapes

BYTES = {"bf16": 2, "fp32": 4}
"""Of a number."""

FP32 = BYTES["fp32"]
ADAMW = 4 * FP32  # bytes a trained parameter: weight, gradient and two moments


def weight_bytes(model: nn.Module, language: nn.Module, number: int, quantize: str | None) -> int:
    """Bytes of a base's weights.

    Args:
        model: The base.
        language: Its language model, without the head.
        number: Bytes of a number that is not quantised.
        quantize: How the language model's linear layers are quantised, if they are.
    """
    whole = number * sum(parameter.numel() for parameter in model.parameters())
    if quantize is None:
        return whole
    linear = 0
    for module in language.modules():
        if isinstance(module, nn.Linear):
            linear += module.weight.numel()
    return whole - number * linear + quantised_bytes(language, quantize)


def tower_flops(model: Any, frames: int) -> int:
    """Operations of tower and projector, counted by torch on one frame.

    Args:
        model: LLaVA-OneVision on the meta device, where nothing is computed.
        frames: Frames of a clip.
    """
    config, tower = model.config, model.model.vision_tower
    size = int(config.vision_config.image_size)
    like = next(tower.parameters())
    pixels = torch.empty(1, 3, size, size, device=like.device, dtype=like.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        states = tower(pixels, output_hidden_states=True).hidden_states
        # [1, cells, width], the layer that the projector reads
        model.model.multi_modal_projector(states[config.vision_feature_layer])
    return int(counter.get_total_flops()) * frames


def language_flops(language: nn.Module, text: Any, tokens: int) -> int:
    """Operations of the prompt's pass through the layers.

    The head, which runs on one token, is left out.

    Args:
        language: The language model, without its head.
        text: Its configuration.
        tokens: Length of the prompt.
    """
    weights = 0
    for module in language.modules():
        if isinstance(module, nn.Linear):
            weights += module.weight.numel()
    heads = int(text.num_attention_heads)
    # Some models widen the heads beyond hidden_size / heads.
    head_dim = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    linear = 2 * tokens * weights
    # Scores and their sum over values are 4 * tokens^2 * width; causal attention needs half.
    attention = 2 * tokens**2 * heads * head_dim * int(text.num_hidden_layers)
    return linear + attention


def activation_bytes(
    text: Any, tokens: int, *, ranks: int, precision: str, checkpointing: bool, masked: bool = False
) -> int:
    """Bytes that the language model keeps of one clip for the backward pass.

    Kept of a layer are its input and the one of its MLP in fp32, what the LoRA of each projection
    reads, queries, keys and values of all heads, and four vectors of the MLP's width. The frozen
    weights need no inputs of their own.

    Args:
        text: Its configuration.
        tokens: Length of the prompt.
        ranks: Ranks of all LoRAs of a layer, together.
        precision: What it trains in.
        checkpointing: Whether activations are recomputed.
        masked: Whether attention takes a mask, of which every layer keeps a copy: packed questions
            where FlexAttention does not run.
    """
    layers, width, mlp = (
        int(text.num_hidden_layers),
        int(text.hidden_size),
        int(text.intermediate_size),
    )
    number = BYTES[precision]
    # Under autocast the attention keeps queries and output in one more layout.
    vectors = 6 if precision == "fp32" else 10
    inside = number * (vectors * width + 4 * mlp + ranks) + 2 * FP32 * width
    if masked:
        inside += number * tokens
    # The gradient that is on its way through the MLP.
    moving = number * mlp
    if checkpointing:
        # A hidden vector before each layer, and the inside of the one that is being recomputed.
        return tokens * (number * width * layers + inside + moving)
    return tokens * (inside * layers + moving)


def fusion_bytes(fusions: Sequence[FusionConfig], queries: int) -> int:
    """Bytes that the fusions keep of one clip for the backward pass, in fp32.

    Args:
        fusions: The fusions.
        queries: Query tokens of the clip, over all frames.
    """
    numbers = 0  # a query token
    for fusion in fusions:
        numbers += 11 * fusion.hidden * fusion.layers  # hidden vectors of a block
        numbers += 2 * fusion.hidden + fusion.out_dim  # the output MLP
    return FP32 * queries * numbers


def lora_ranks(model: nn.Module, lora: LoraSpec | None, family: Family, layers: int) -> int:
    """Ranks of all LoRAs of one layer, together; 0 without one."""
    if lora is None:
        return 0
    total = 0
    for name, _, _ in lora_shapes(model, lora, family):
        total += lora.rank_of(name)
    return total // layers


def lora_parameters(model: nn.Module, lora: LoraSpec | None, family: Family) -> int:
    """Parameters of a LoRA on a model; 0 without one."""
    if lora is None:
        return 0
    total = 0
    for name, inputs, outputs in lora_shapes(model, lora, family):
        # A is [rank, inputs], B is [outputs, rank].
        total += lora.rank_of(name) * (inputs + outputs)
        if lora.use_dora:  # and a length for each output
            total += outputs
    return total
