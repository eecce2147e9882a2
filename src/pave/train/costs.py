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
from pave.train.kept import FP32

ADAMW = 4 * FP32  # bytes a trained parameter: weight, gradient and two moments


def weight_bytes(
    model: nn.Module,
    language: nn.Module,
    number: int,
    quantize: str | None,
) -> int:
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
    return whole - number * linear_weights(language) + quantised_bytes(language, quantize)


def linear_weights(language: nn.Module) -> int:
    """Weights of all linear layers."""
    found = 0
    for module in language.modules():
        if isinstance(module, nn.Linear):
            found += module.weight.numel()
    return found


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
    heads = int(text.num_attention_heads)
    # Some models widen the heads beyond hidden_size / heads.
    head_dim = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    linear = 2 * tokens * linear_weights(language)
    # Scores and their sum over values are 4 * tokens^2 * width; causal attention needs half.
    attention = 2 * tokens**2 * heads * head_dim * int(text.num_hidden_layers)
    return linear + attention


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
