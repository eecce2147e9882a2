"""What a patch adds when a clip is read: CPU seconds on `smol`, and operations at 7B.

Seconds: one clip and a question from pixels to the first logits, side tokens at hand, patched
against plain. The patch is the demo's: sound, a fusion of width 256, LoRA of rank 16 on the
attention, as it is loaded and merged (`PatchedModel.merge`). Merged layers multiply through oneDNN,
as the fusion does and the base does not; the row of the fusion alone is the patch without that.

Operations: counted on the meta device, so no weights are needed. Base: LLaVA-OneVision-7B's
language model (28 layers of width 3584) reading 32 frames of 196 tokens, and its SigLIP tower.
Patch: the paper's fusion (hidden 512, 2 layers) on 32 x 196 queries and 100 sound tokens, and its
LoRA (rank 64 on all products), which is not merged into the base.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from harness import Pair, Row, in_turn
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
from videos import Bench, bench

from pave import FusionConfig
from pave.bases import Base, load_base
from pave.bases.head import last_positions
from pave.fusion_costs import fusion_flops
from pave.media import read_frames
from pave.model import PatchedModel

FRAMES, CELLS, RANK = 32, 196, 64
TOWER = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
TEXT = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152128,
}


def seconds() -> list[Row]:
    """Patched, against a base of its own that never met a patch; 32 frames, and smol's 4."""
    with bench(1, 1) as made, torch.no_grad():
        plain = load_base("smol")
        return [
            row
            for frames, repeats in ((32, 5), (4, 25))
            for row in prefills(made, plain, frames, repeats)
        ]


def prefills(made: Bench, plain: Base, frames: int, repeats: int) -> list[Row]:
    """The fusion alone, with the LoRA, and with the LoRA merged."""
    (record,) = made.groups[0]
    features = made.features(frames)
    side = features[record].channels
    clip = plain.clip(read_frames(record.video, features.sampling))
    inputs = plain.batch(
        [plain.encode_prompt(clip.text, [(record.turns[0].question, None)]).ask()],
        [clip],
        pad="left",
    )
    rows = []
    for name, promise in (
        ("fusion alone", None),
        ("fusion and LoRA", None),
        ("fusion and merged LoRA", 1.03),
    ):
        model = made.patched("LoRA" in name)
        if "merged" in name:
            model.merge()

        def patched(model: PatchedModel = model) -> None:
            with model.model.lm_head.register_forward_pre_hook(last_positions(1)):
                model([side], [clip.times], **inputs)

        def bare() -> None:
            with plain.model.lm_head.register_forward_pre_hook(last_positions(1)):
                plain.model(**inputs)

        figure = f"prefill of one clip on smol, {frames} frames, {name}, against the plain base"
        rows.append(Row.cost(figure, in_turn(patched, bare, repeats), promise=promise))
        model.unpatch()
    return rows


def operations(run: Callable[[], object]) -> float:
    """Tera-operations of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e12


def share() -> Row:
    """Operations of fusion and LoRA beside those of a 7B base."""
    config = LlavaOnevisionConfig(vision_config=TOWER, text_config=TEXT)
    with torch.device("meta"), torch.no_grad():
        model = LlavaOnevisionForConditionalGeneration(config).eval()
        frames = torch.empty(FRAMES, 3, 384, 384)
        length = FRAMES * CELLS + 40
        embeds, mask = (
            torch.empty(1, length, 3584),
            torch.empty(1, 1, length, length, dtype=torch.bool),
        )
        base = operations(lambda: model.model.vision_tower(frames))
        base += operations(
            lambda: model.model.language_model(
                inputs_embeds=embeds, attention_mask=mask, use_cache=False
            )
        )
        layers = [
            layer for layer in model.model.language_model.modules() if isinstance(layer, nn.Linear)
        ]
    lora = (
        sum(2 * length * RANK * (layer.in_features + layer.out_features) for layer in layers) / 1e12
    )
    config = FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584)
    fusion = (
        fusion_flops(config, frames=FRAMES, query_tokens=CELLS, side_steps=100, side_tokens=1)
        / 1e12
    )
    note = (
        f"fusion {fusion / base:.2%}, unmerged LoRA of rank {RANK} {lora / base:.2%} "
        "of the base's operations"
    )
    return Row.cost(
        "operations of a 7B prefill, patched against plain",
        Pair(base + fusion + lora, base, 1),
        "TFLOP",
        None,
        note,
    )


def measure() -> list[Row]:
    """Seconds and operations."""
    return [*seconds(), share()]
